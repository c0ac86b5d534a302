package edge

import (
	"fmt"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
)

// What a camera's health notes say, by what is wrong with its picture.
var pictureNotes = map[string]string{
	floorwatch.PictureBlank:  "the picture is black, or covered: look whether something hangs over the lens, and whether there is light",
	floorwatch.PictureFrozen: "the picture has not changed at all for 20 s: restart the camera",
}

// setPicture books what is wrong with a camera's picture, "" for nothing; false
// when that was known.
func (m *meters) setPicture(camera, wrong string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.cameras[camera]
	if !ok || c.picture == wrong {
		return false
	}
	c.picture = wrong
	return true
}

// setGOP books how far a camera's key frames are apart; 0: not too far.
func (m *meters) setGOP(camera string, apart time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.cameras[camera]; ok {
		c.gop = apart
	}
}

// notes says in words what is wrong with a camera. The caller holds the lock.
func (c *meter) notes() []string {
	var out []string
	if text := pictureNotes[c.picture]; text != "" {
		out = append(out, text)
	}
	if c.gop > 0 {
		out = append(out, fmt.Sprintf("key frames are %.1f s apart, so a power cut takes up to %.0f s of footage: set the camera's I-frame interval to %.0f s at most",
			c.gop.Seconds(), c.gop.Seconds()+1, footage.MaxGOP.Seconds()))
	}
	return out
}

// tell appends a camera's health record now, ahead of the minute.
func (c *camera) tell() {
	now, m := c.clock.Time(), c.meters
	m.mu.Lock()
	defer m.mu.Unlock()
	c.writer.add(m.health(now, c.cfg.Name))
}
