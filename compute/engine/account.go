package engine

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// account is the memory of one ingest: what its files occupy is claimed from the
// memory that opened snapshots share, so that both together stay in the limit. In
// a store with a volume the files lie there, for nobody knows beforehand whether
// a stream will fit into memory.
type account struct {
	memory *memory
	volume *Volume // nil: files are memory files
	kept   string  // the data set, where it must not leave memory for a volume there is

	mu      sync.Mutex
	claimed int64
	base    int64 // length of the spooled raw file
}

// claimAhead is what an ingest claims beyond what its files occupy: more than a
// worker writes between two looks.
const claimAhead = 64 << 20

// watchEvery is the interval of looks at the files of an ingest.
const watchEvery = 20 * time.Millisecond

// file makes an empty file of this ingest.
func (a *account) file() (*os.File, error) {
	if a.volume != nil {
		return a.volume.create(1)
	}
	return newMemoryFile()
}

// freeze returns a description of one of its files that cannot write; it closes f.
func (a *account) freeze(f *os.File) (*os.File, error) {
	if a.volume != nil {
		return freezeVolumeFile(f)
	}
	return sealMemoryFile(f)
}

// raise claims until n bytes are claimed in all.
func (a *account) raise(n int64) error {
	if a.volume != nil {
		return a.volume.room(claimAhead)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if n <= a.claimed {
		return nil
	}
	if err := a.memory.claim(n - a.claimed); err != nil {
		short := err.(*TooLarge)
		mine := TooLarge{Need: n, Limit: short.Limit, InUse: short.InUse - a.claimed}
		// What others hold comes free again; alone it would still not fit.
		if a.kept != "" && mine.InUse == 0 {
			return &Confined{TooLarge: mine, Dataset: a.kept}
		}
		return &mine
	}
	a.claimed = n
	return nil
}

// end gives back what is claimed.
func (a *account) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.memory.giveBack(a.claimed)
	a.claimed = 0
}

// handOver makes the ingested file a resident snapshot, in exchange for its part
// of the claim.
func (a *account) handOver(id string, data *os.File) {
	if a.volume != nil {
		a.volume.keep(id, data, a.memory.limit)
		return
	}
	size, err := occupied(data)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil || size > a.claimed {
		_ = data.Close()
		return
	}
	a.claimed -= size
	a.memory.adopt(id, data, size)
}

// watch claims what the files occupy as they grow and calls cancel when there is
// no more to claim. A memory file counts for no limit of the process that writes
// it, so its owner has to look. The returned function ends the watch and returns
// *TooLarge if that is what ended the ingest.
func (a *account) watch(files []*os.File, cancel context.CancelFunc) func() error {
	stop, done := make(chan struct{}), make(chan error, 1)
	look := func() error {
		total := pages(a.base)
		for _, f := range files {
			n, err := occupied(f)
			if err != nil {
				return err
			}
			total += n
		}
		return a.raise(total + claimAhead)
	}
	go func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			if err := look(); err != nil {
				cancel()
				done <- err
				return
			}
			select {
			case <-stop:
				done <- nil
				return
			case <-tick.C:
			}
		}
	}()
	return func() error {
		close(stop)
		return <-done
	}
}

// spool copies raw into a file of this ingest and returns it read-only.
func (a *account) spool(raw io.Reader) (*os.File, error) {
	f, err := a.file()
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<20)
	for {
		// Not io.ReadFull: it would pass a reader's own "unexpected EOF", half a
		// file, for the end of it.
		n, readErr := raw.Read(buf)
		if n > 0 {
			a.base += int64(n)
			if err = a.raise(pages(a.base)); err == nil {
				_, err = f.Write(buf[:n])
			}
			if err != nil {
				break
			}
		}
		if readErr == io.EOF {
			return a.freeze(f)
		}
		if readErr != nil {
			err = fmt.Errorf("failed to read raw file: %w", readErr)
			break
		}
	}
	_ = f.Close()
	return nil, err
}
