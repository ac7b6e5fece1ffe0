package witnessd

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger/wal"
	"github.com/sandgate/sandgate/ledger/witness"
)

const (
	// maxEvents in bytes; then the file becomes events.jsonl.1, and the one before
	// that is gone: strangers may send requests without end.
	maxEvents = 1 << 20
	// maxAlarms kept of all logs: each holds two checkpoints that a log's key signed.
	maxAlarms = 1000
)

// Event is a request that was refused.
type Event struct {
	At    time.Time    `json:"at"`
	Code  witness.Code `json:"code"`
	Alarm bool         `json:"alarm,omitempty"`
	// Behind is what was cosigned when a signed checkpoint of fewer entries was offered:
	// the log goes on from an old copy, or somebody sent an old checkpoint, which is
	// public. So it is no proof, and no alarm by itself.
	Behind int64  `json:"behind,omitempty"`
	Origin string `json:"origin,omitempty"`
	Old    int64  `json:"old"`  // size the client named
	Size   int64  `json:"size"` // of the checkpoint it offered, if its signature holds
}

// Alarm is the evidence of a log that has two histories, or of a checkpoint that was
// not shown to follow from the one cosigned. Both notes are as the log signed them.
type Alarm struct {
	Format   string       `json:"format"` // AlarmFormat
	At       time.Time    `json:"at"`
	Code     witness.Code `json:"code"`
	Origin   string       `json:"origin"`
	Keys     []string     `json:"keys"`     // of the log
	Cosigned string       `json:"cosigned"` // the checkpoint cosigned last
	Offered  string       `json:"offered"`  // the one that was refused
	Witness  string       `json:"witness"`  // its key
}

// AlarmFormat names the format of evidence files.
const AlarmFormat = "sandgate-alarm/v1"

// record notes a refusal. What cannot be written is told by the process's own log;
// no cosignature hangs on it.
func (h *Home) record(origin string, v witness.Verdict, old int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recordLocked(origin, v, old)
}

func (h *Home) recordLocked(origin string, v witness.Verdict, old int64) {
	var behind int64
	if l := h.logs[origin]; l != nil && v.Code == witness.CodeOtherSize && v.Offered.N < l.head.Tree.N {
		behind = l.head.Tree.N
	}
	if v.Code == witness.CodeOtherSize && old == 0 && behind == 0 {
		return // how a client asks for the size
	}
	e := Event{Behind: behind, At: h.now().UTC(), Code: v.Code, Alarm: v.Code.Alarm(), Origin: printable(origin), Old: old, Size: v.Offered.N}
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	path := filepath.Join(h.dir, eventsIn)
	if info, err := os.Stat(path); err == nil && info.Size() > maxEvents {
		if os.Rename(path, path+".1") != nil {
			return
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	_ = durable.Around("witness.event", func() error {
		if _, err := f.Write(append(line, '\n')); err != nil || !e.Alarm {
			return err
		}
		return f.Sync() // the evidence itself is on the disk already
	})
}

// printable cuts what a stranger calls his log to what a log file bears.
func printable(origin string) string {
	out := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, origin)
	if len(out) > 128 {
		out = out[:128]
	}
	return strings.ToValidUTF8(out, "")
}

// keepAlarm makes evidence durable before the refusal is answered.
func (h *Home) keepAlarm(l *served, v witness.Verdict, offered []byte) error {
	dir := filepath.Join(h.dir, alarmsIn)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("failed to make the directory of alarms: %w", err)
	}
	known, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("failed to list alarms: %w", err)
	}
	stem, _, _ := strings.Cut(fileOf(l.Origin), ".")
	root := tlog.Hash(v.Offered.Hash)
	name := fmt.Sprintf("%s-%d-%s-%s.json", stem, v.Offered.N, hex.EncodeToString(root[:8]), strings.ToLower(string(v.Code)))
	for _, k := range known {
		if k.Name() == name {
			return nil
		}
	}
	if len(known) >= maxAlarms {
		return nil // a thousand proofs are enough
	}
	text, err := json.MarshalIndent(Alarm{Format: AlarmFormat, At: h.now().UTC(), Code: v.Code, Origin: l.Origin, Keys: l.Keys,
		Cosigned: string(l.head.Checkpoint), Offered: string(offered), Witness: h.Key()}, "", "  ")
	if err != nil {
		return fmt.Errorf("failed to encode an alarm: %w", err)
	}
	return wal.WriteDurable(filepath.Join(dir, name), append(text, '\n'), "alarm", h.fault)
}

// Shown is what a witness's directory holds.
type Shown struct {
	Key    string   `json:"key"`
	Logs   []Log    `json:"logs"`
	Alarms []Kept   `json:"alarms,omitempty"`
	Events []Event  `json:"events,omitempty"` // the latest refusals, oldest first
	Spoilt []string `json:"spoilt,omitempty"` // files that cannot be read
}

// Kept is an alarm and the file that holds its evidence.
type Kept struct {
	File string `json:"file"`
	Alarm
}

// Show reads a witness's directory, which may be in use.
func Show(dir string, events int) (Shown, error) {
	key, err := Key(dir)
	if err != nil {
		return Shown{}, err
	}
	logs, err := readLogs(dir)
	if err != nil {
		return Shown{}, err
	}
	s := Shown{Key: key, Logs: sorted(logs)}
	files, err := os.ReadDir(filepath.Join(dir, alarmsIn))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Shown{}, fmt.Errorf("failed to list alarms: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(dir, alarmsIn, f.Name())
		text, err := os.ReadFile(path)
		k := Kept{File: path}
		if err != nil || json.Unmarshal(text, &k.Alarm) != nil || k.Format != AlarmFormat {
			s.Spoilt = append(s.Spoilt, path)
			continue
		}
		s.Alarms = append(s.Alarms, k)
	}
	s.Events, err = readEvents(filepath.Join(dir, eventsIn), events)
	return s, err
}

func readEvents(path string, most int) ([]Event, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("failed to read events: %w", err)
	}
	var out []Event
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var e Event
		if json.Unmarshal(lines.Bytes(), &e) == nil { // the last line may be torn
			out = append(out, e)
		}
	}
	return out[max(0, len(out)-most):], lines.Err()
}
