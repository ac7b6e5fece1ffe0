package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/internal/durable"
)

// keep writes a release and its post-processing, and returns its digest. Nobody
// is answered from them before the ledger commits to the digest.
func (d *Domain) keep(job string, p *prepared, rel *release.Release) (string, error) {
	digest := rel.Digest()
	name := fmt.Sprintf("%x", digest[:])
	// Named by its digest, a release can never be overwritten by another run's; one
	// that is the same to the last byte shares the file.
	d.mu.Lock()
	d.kept[name]++
	d.mu.Unlock()
	if err := durable.Write(d.releasePath(name), rel.Encode(), "release"); err != nil {
		return name, err
	}
	return name, d.savePost(job, p.query.Post)
}

// discard removes a release that was never committed.
func (d *Domain) discard(job, name string) error {
	cells := d.dropCells(job)
	if name == "" {
		return cells
	}
	return errors.Join(cells, d.drop(name), durable.Remove(d.postPath(job), "post.drop"))
}

// drop removes a stored release that no other job holds. What was committed by an
// earlier run of the gateway the ledger knows; what by this one is counted.
func (d *Domain) drop(name string) error {
	committed := false
	d.log.View(func() {
		for _, id := range d.state.Jobs() {
			j, _ := d.state.Job(id)
			committed = committed || j.Released != nil && j.Released.Digest == name
		}
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept[name]--; d.kept[name] > 0 || committed {
		return nil
	}
	delete(d.kept, name)
	return durable.Remove(d.releasePath(name), "release.drop")
}

func (d *Domain) releasePath(digest string) string {
	return filepath.Join(d.home.Releases(), digest+".json")
}

// sweepReleases removes releases that were written but never committed: a crash
// came between. Nobody was answered from them, and a job that is run again must
// not leave two draws of its noise on the disk for the price of one. It takes as long
// as there are releases, so a start waits for it a moment and no longer: what this run
// writes is counted before it is on the disk, and left alone.
func (d *Domain) sweepReleases() {
	done := make(chan struct{})
	d.jobs.Go(func() {
		defer close(done)
		d.sweep()
	})
	select {
	case <-done:
	case <-time.After(sweepWait):
	}
}

// sweepWait is how long a start waits for a sweep, which few releases do not take.
const sweepWait = time.Second

func (d *Domain) sweep() {
	if err := d.sweepReleasesOnce(); err != nil && d.ctx.Err() == nil {
		d.opt.Logger.Error("sweep of uncommitted releases failed", "error", err.Error())
	}
}

// sweepAtOnce is how many jobs are looked at while commands wait.
const sweepAtOnce = 1024

func (d *Domain) sweepReleasesOnce() error {
	files, err := os.ReadDir(d.home.Releases())
	if err != nil {
		return fmt.Errorf("failed to list releases: %w", err)
	}
	var jobs []string
	d.log.View(func() { jobs = d.state.Jobs() })
	committed := map[string]bool{}
	for some := range slices.Chunk(jobs, sweepAtOnce) {
		if d.ctx.Err() != nil {
			return nil
		}
		d.log.View(func() {
			for _, id := range some {
				if j, _ := d.state.Job(id); j.Released != nil {
					committed[j.Released.Digest] = true
				}
			}
		})
	}
	for _, name := range append(d.roundFiles(), d.trainingFiles()...) {
		committed[name] = true
	}
	for _, f := range files {
		digest, _ := strings.CutSuffix(f.Name(), ".json")
		if committed[digest] || strings.HasSuffix(f.Name(), ".post.json") {
			continue
		}
		if err := d.removeUnlessKept(digest, f.Name()); err != nil {
			return fmt.Errorf("failed to remove an uncommitted release: %w", err)
		}
	}
	return nil
}

func (d *Domain) removeUnlessKept(digest, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept[digest] > 0 {
		return nil
	}
	if err := durable.Remove(filepath.Join(d.home.Releases(), name), "release.sweep"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *Domain) postPath(job string) string {
	return filepath.Join(d.home.Releases(), job+".post.json")
}

func (d *Domain) savePost(job string, post algebra.Post) error {
	text, err := json.Marshal(post)
	if err != nil {
		return fmt.Errorf("failed to encode post-processing: %w", err)
	}
	return durable.Write(d.postPath(job), append(postSeal(d.commitKey(), job, text), text...), "post")
}

// postSeal is the line in front of a stored post-processing. The ledger commits
// to the answer and not to how a job had it named, ordered and cut; whoever
// changes that on disk would have another column's numbers served under a name.
func postSeal(key []byte, job string, text []byte) []byte {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "sandgate/post/v1/%s\n", job)
	mac.Write(text)
	return append([]byte(hex.EncodeToString(mac.Sum(nil))), '\n')
}
