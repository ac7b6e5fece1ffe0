// Package alert carries warnings to those who asked for them: a webhook and a
// directory of mail. Delivery is at least once: an alert that was delivered is
// noted on disk, and after a crash in between comes again under the same id. A
// receiver that is slow or dead keeps nobody waiting but later alerts of its own.
package alert

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger/state"
)

// sink delivers one alert. What it returns is not logged: it may hold an address.
type sink interface {
	name() string
	deliver(ctx context.Context, id string, a state.Alert) error
}

// Dispatcher hands alerts to sinks. Its methods are safe for concurrent use.
type Dispatcher struct {
	origin string
	logger *slog.Logger
	done   *journal
	lanes  []*lane
}

// lane is one sink with what waits for it.
type lane struct {
	sink sink
	wake chan struct{}
	mu   sync.Mutex
	list []state.Alert
	// later is until when an alert that was refused rests.
	later map[string]time.Time
}

// rest is how long an alert waits that its receiver did not take after every retry.
const rest = 5 * time.Minute

// Open reads the secret, makes the directories and reads what was delivered before
// from dir.
func Open(c Config, dir, origin string, logger *slog.Logger) (*Dispatcher, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &Dispatcher{origin: origin, logger: logger}
	var sinks []sink
	if c.Webhook != nil {
		w, err := newWebhook(*c.Webhook, origin)
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, w)
	}
	if c.Mail != nil {
		m, err := newMail(*c.Mail, origin)
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, m)
	}
	for _, s := range sinks {
		d.lanes = append(d.lanes, &lane{sink: s, wake: make(chan struct{}, 1), later: map[string]time.Time{}})
	}
	var err error
	d.done, err = openJournal(dir)
	return d, err
}

// Offer replaces the list of what is to be delivered. It never waits.
func (d *Dispatcher) Offer(list []state.Alert) {
	for _, l := range d.lanes {
		l.mu.Lock()
		l.list = list
		l.mu.Unlock()
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Run delivers until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, l := range d.lanes {
		all.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-l.wake:
					d.drain(ctx, l)
				}
			}
		})
	}
	all.Wait()
	if err := d.done.close(); err != nil {
		d.logger.Error("the journal of alerts could not be closed")
	}
}

// drain delivers what waits in a lane and is new to its receiver.
func (d *Dispatcher) drain(ctx context.Context, l *lane) {
	for ctx.Err() == nil {
		a, ok := l.next(d.done)
		if !ok {
			return
		}
		err := l.sink.deliver(ctx, eventID(d.origin, a.ID), a)
		if err == nil {
			err = d.done.add(l.sink.name(), a.ID)
		}
		if err != nil && ctx.Err() == nil {
			d.logger.Warn("an alert was not delivered and will be tried again", "receiver", l.sink.name(), "kind", string(a.Kind))
			l.later[a.ID] = time.Now().Add(rest)
		}
	}
}

// next is the first alert that is neither delivered nor resting.
func (l *lane) next(done *journal) (state.Alert, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.list, func(a state.Alert) bool {
		return !done.has(l.sink.name(), a.ID) && !time.Now().Before(l.later[a.ID])
	})
	if i < 0 {
		return state.Alert{}, false
	}
	return l.list[i], true
}

// eventID names an alert to the outside: the same event of the same ledger always
// has the same.
func eventID(origin, id string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "sandgate/alert/v1\n%q %q", origin, id))
	return "al_" + hex.EncodeToString(sum[:16])
}

// journal remembers what was delivered to whom.
type journal struct {
	whole int64 // bytes of whole lines in file
	mu    sync.Mutex
	file  *os.File
	ids   map[delivered]bool
}

type delivered struct {
	Sink string `json:"sink"`
	ID   string `json:"id"`
}

func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("failed to make the directory of alerts: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "delivered.jsonl"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("failed to open the journal of alerts: %w", err)
	}
	j := &journal{file: f, ids: map[delivered]bool{}}
	whole := int64(0)
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // the rest was torn by a crash: what it said comes again
		}
		var x delivered
		if err != nil || json.Unmarshal(line, &x) != nil {
			return nil, errors.Join(errors.New("the journal of alerts is damaged; move it away, and what it held is delivered again"), f.Close())
		}
		j.ids[x] = true
		whole += int64(len(line))
	}
	if err := durable.Around("alert.mend", func() error { return f.Truncate(whole) }); err != nil {
		return nil, errors.Join(fmt.Errorf("failed to mend the journal of alerts: %w", err), f.Close())
	}
	j.whole = whole
	return j, nil
}

func (j *journal) has(sink, id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ids[delivered{sink, id}]
}

func (j *journal) add(sink, id string) error {
	x := delivered{sink, id}
	line, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("failed to encode what was delivered: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	// In memory at once: a full disk must not have one alert delivered again and
	// again before the next start.
	j.ids[x] = true
	line = append(line, '\n')
	err = durable.Around("alert.write", func() error { _, err := j.file.WriteAt(line, j.whole); return err })
	if err != nil {
		// The piece of a line for which the disk had room would be damage at the next start.
		return errors.Join(fmt.Errorf("failed to write the journal of alerts: %w", err), j.file.Truncate(j.whole))
	}
	j.whole += int64(len(line))
	if err := durable.Around("alert.sync", j.file.Sync); err != nil {
		return fmt.Errorf("failed to sync the journal of alerts: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }
