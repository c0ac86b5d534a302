package picture

import (
	"container/list"
	"time"

	"floorwatch"
)

// kept is an answer: what came, or why nothing did.
type kept struct {
	data  []byte
	at    floorwatch.Time // when a still was taken
	why   error           // there is nothing newer
	until time.Time       // before which nobody asks again
}

// maxKept bounds what is kept, in bytes; overhead is what an answer costs beside
// its data.
const (
	maxKept  = 64 << 20
	overhead = 512
)

// cache keeps the answers that were looked at last. The zero value is ready.
type cache struct {
	byKey map[string]*list.Element
	order list.List // of item, the latest first
	bytes int
}

type item struct {
	key string
	kept
}

func (c *cache) get(key string) kept {
	e := c.byKey[key]
	if e == nil {
		return kept{}
	}
	c.order.MoveToFront(e)
	return e.Value.(item).kept
}

func (c *cache) put(key string, k kept) {
	if c.byKey == nil {
		c.byKey = map[string]*list.Element{}
	}
	c.drop(c.byKey[key])
	c.byKey[key] = c.order.PushFront(item{key, k})
	c.bytes += len(k.data) + overhead
	for c.bytes > maxKept {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	if e == nil {
		return
	}
	gone := c.order.Remove(e).(item)
	delete(c.byKey, gone.key)
	c.bytes -= len(gone.data) + overhead
}
