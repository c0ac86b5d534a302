package cloud

import (
	"path/filepath"

	"floorwatch/cloud/command"
	"floorwatch/cloud/vault"
)

// footage is the footage of all boxes: what the vault has, what their seals say
// there is, and the way to bring the rest.
type footage struct {
	uploads   *vault.Uploads
	commander *command.Commander
	archive   *vault.Archive
	retention *vault.Retention
}

// incomingDir holds unfinished uploads, below the data folder.
const incomingDir = "incoming"

func (a *Aggregator) openVault(index *vault.Index) (*footage, error) {
	objects, err := vault.OpenFolder(a.Data)
	if err != nil {
		return nil, err
	}
	lines, err := vault.OpenLines(a.Data)
	if err != nil {
		return nil, err
	}
	f := &footage{
		uploads: &vault.Uploads{
			Index: index, Objects: objects, Lines: lines, Dir: filepath.Join(a.Data, incomingDir), Key: a.Sites.Key, Log: a.Log,
		},
		commander: &command.Commander{Broker: a.Broker, Sites: a.Sites, Log: a.Log},
		retention: &vault.Retention{Index: index, Objects: objects, Lines: lines, MaxAge: a.Footage, Log: a.Log},
	}
	f.archive = &vault.Archive{Index: index, Objects: objects, Lines: lines, Own: a.Clips, Boxes: f.commander, Uploads: f.uploads, Log: a.Log}
	return f, nil
}
