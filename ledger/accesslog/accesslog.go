// Package accesslog keeps the raw access log 访问日志 of a gateway (R29, R34): one JSON
// line per call with time, party, method, outcome and address, in one file per day of
// China Standard Time, kept for months and then deleted. Lines are chained by SHA-256
// and the gateway's heartbeats put the chain's head into the ledger, so whoever holds
// both can tell whether a line was changed or removed (Check). A line holds no
// request, no answer and no duration.
package accesslog

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/policies"
)

// LeastMonths is how long raw access logs are kept by law; DefaultMonths unless told.
const (
	LeastMonths   = 6
	DefaultMonths = 12
)

// MaxLine bounds one line; method and address come from the network.
const MaxLine = 4096

// Line is one call.
type Line struct {
	At     time.Time `json:"at"`
	Party  string    `json:"party,omitempty"` // empty: not authenticated
	Method string    `json:"method"`
	Code   string    `json:"code"` // gRPC code
	Peer   string    `json:"peer,omitempty"`
}

// head is a file's first line: the chain as it stood before the file.
type head struct {
	V        int    `json:"v"`
	Previous string `json:"previous"` // hex
}

type link [sha256.Size]byte

func (l link) next(line []byte) link {
	h := sha256.New()
	h.Write([]byte("sandgate/access-log/v1\n"))
	h.Write(l[:])
	h.Write(line)
	return link(h.Sum(nil))
}

// Log is an access log being written. It is safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	dir    string
	months int
	day    string
	file   *os.File
	chain  link
	whole  int64 // bytes of whole lines in file
	torn   bool  // something stands behind them
}

const prefix, suffix = "access-", ".jsonl"

// Day names the day of China Standard Time whose file holds an instant.
func Day(at time.Time) string { return policies.Day(at) }

// days lists the days of which dir has a file, ascending.
func days(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("failed to read access log: %w", err)
	}
	var out []string
	for _, e := range entries {
		day, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		if day, ok = strings.CutPrefix(day, prefix); !ok {
			continue
		}
		if _, err := time.Parse(time.DateOnly, day); err == nil {
			out = append(out, day)
		}
	}
	slices.Sort(out)
	return out, nil
}

func path(dir, day string) string { return filepath.Join(dir, prefix+day+suffix) }

// Open goes on with the log in dir, which it creates. A last line that a crash cut
// short is removed; it was never under a heartbeat. Months is how long files are
// kept, at least LeastMonths.
func Open(dir string, months int) (*Log, error) {
	if months < LeastMonths {
		return nil, fmt.Errorf("access logs are kept for at least %d months", LeastMonths)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("failed to create access log: %w", err)
	}
	all, err := days(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{dir: dir, months: months}
	for len(all) > 0 {
		last := path(dir, all[len(all)-1])
		_, chain, whole, err := read(last, nil)
		if errors.Is(err, errHead) && whole == 0 {
			// Cut short before its first line was whole: as if it had not begun.
			if err := durable.Remove(last, "access.torn"); err != nil {
				return nil, fmt.Errorf("failed to repair access log: %w", err)
			}
			all = all[:len(all)-1]
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("failed to read access log: %w", err)
		}
		if err := durable.Around("access.mend", func() error { return os.Truncate(last, whole) }); err != nil {
			return nil, fmt.Errorf("failed to repair access log: %w", err)
		}
		l.chain = chain
		break
	}
	return l, nil
}

var errHead = errors.New("a file of the access log has no first line")

// read goes through a file, hands each whole line with the chain after it to visit,
// and returns the chain at its start and end and how many bytes are whole lines.
func read(name string, visit func(line []byte, after link) error) (before, chain link, whole int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return before, chain, 0, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 2*MaxLine)
	first, err := r.ReadSlice('\n')
	var h head
	if err != nil || json.Unmarshal(first, &h) != nil || h.V != 1 {
		return before, chain, 0, errHead
	}
	raw, err := hex.DecodeString(h.Previous)
	if err != nil || len(raw) != sha256.Size {
		return before, chain, 0, errHead
	}
	before, chain, whole = link(raw), link(raw), int64(len(first))
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return before, chain, whole, nil
		}
		if err != nil {
			return before, chain, whole, errors.New("a line of the access log is too long or cannot be read")
		}
		chain, whole = chain.next(line), whole+int64(len(line))
		if visit != nil {
			if err := visit(line, chain); err != nil {
				return before, chain, whole, err
			}
		}
	}
}

// Add appends a line. A day's first line opens that day's file and deletes what is
// older than the months kept.
func (l *Log) Add(line Line) error {
	line.At = line.At.UTC().Truncate(time.Millisecond)
	line.Method, line.Peer = cut(line.Method), cut(line.Peer)
	text, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("failed to encode access: %w", err)
	}
	text = append(text, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	// A clock set back must not write into a day that is closed.
	if day := max(Day(line.At), l.day); l.file == nil || day != l.day {
		if err := l.begin(day, line.At); err != nil {
			return err
		}
	}
	if err := l.write("access.write", text); err != nil {
		return err
	}
	l.chain = l.chain.next(text)
	return nil
}

// write appends a whole line to the open file, or nothing: the piece of a line for
// which the disk had room would become one with the next line, and no heartbeat's
// head would fit that.
func (l *Log) write(point string, line []byte) error {
	if err := l.mend(); err != nil {
		return err
	}
	err := durable.Around(point, func() error { _, err := l.file.Write(line); return err })
	if err != nil {
		l.torn = true
		return errors.Join(fmt.Errorf("failed to write access log: %w", err), l.mend())
	}
	l.whole += int64(len(line))
	return nil
}

// mend cuts off what a failed write left.
func (l *Log) mend() error {
	if !l.torn {
		return nil
	}
	if err := durable.Around("access.mend", func() error { return l.file.Truncate(l.whole) }); err != nil {
		return fmt.Errorf("failed to repair access log: %w", err)
	}
	l.torn = false
	return nil
}

// cut bounds a text that a caller chose.
func cut(s string) string {
	const most = 256
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

func (l *Log) begin(day string, at time.Time) error {
	all, err := days(l.dir)
	if err != nil {
		return err
	}
	if n := len(all); n > 0 {
		day = max(day, all[n-1])
	}
	if l.file != nil {
		if err := l.close(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path(l.dir, day), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("failed to open access log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("failed to inspect access log: %w", err), f.Close())
	}
	l.file, l.whole, l.torn = f, info.Size(), false
	if l.whole == 0 {
		first, err := json.Marshal(head{V: 1, Previous: hex.EncodeToString(l.chain[:])})
		if err == nil {
			err = l.write("access.head", append(first, '\n'))
		}
		if err != nil {
			// The next line begins the day again.
			l.file = nil
			return errors.Join(err, f.Close())
		}
	}
	l.day = day
	oldest := at.In(policies.CivilZone).AddDate(0, -l.months, 0).Format(time.DateOnly)
	for _, d := range all {
		if d < oldest && d != day {
			if err := durable.Remove(path(l.dir, d), "access.expire"); err != nil {
				return fmt.Errorf("failed to delete old access log: %w", err)
			}
		}
	}
	return nil
}

// Head makes what was added durable and returns the chain's head, in hex: what a
// heartbeat puts into the ledger; "" before the first line.
func (l *Log) Head() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		if err := errors.Join(l.mend(), durable.Around("access.sync", l.file.Sync)); err != nil {
			return "", fmt.Errorf("failed to write access log: %w", err)
		}
	}
	if l.chain == (link{}) {
		return "", nil
	}
	return hex.EncodeToString(l.chain[:]), nil
}

// Close closes the log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.close()
}

func (l *Log) close() error {
	err := errors.Join(l.mend(), durable.Around("access.sync", l.file.Sync), l.file.Close())
	l.file = nil
	if err != nil {
		return fmt.Errorf("failed to close access log: %w", err)
	}
	return nil
}

// Beat is a head that the ledger holds.
type Beat struct {
	At   time.Time
	Head string
}

// Result of a check.
type Result struct {
	Lines int
	// Vouched are the lines up to the last head of the ledger that was found.
	Vouched int
	First   string // day of the oldest file, empty without any
	// Unfound are heads of the ledger that no line leads to: lines were changed or
	// removed before them.
	Unfound []Beat
	// Broken names days whose file does not go on from the one before it.
	Broken []string
}

// Check holds the access log in dir against the heads that a ledger holds, in their
// order. Heads of days whose files were deleted as old are not looked for.
func Check(dir string, beats []Beat) (Result, error) {
	var out Result
	beats = slices.DeleteFunc(slices.Clone(beats), func(b Beat) bool { return b.Head == "" })
	all, err := days(dir)
	if err != nil {
		return out, err
	}
	if len(all) == 0 {
		out.Unfound = beats
		return out, nil
	}
	out.First = all[0]
	seen, vouched := map[string]bool{}, map[string]bool{}
	for _, b := range beats {
		vouched[b.Head] = true
	}
	var before link
	for i, day := range all {
		first, chain, _, err := read(path(dir, day), func(line []byte, after link) error {
			var l Line
			dec := json.NewDecoder(bytes.NewReader(line))
			dec.DisallowUnknownFields()
			if dec.Decode(&l) != nil {
				return errors.New("a line of the access log is malformed")
			}
			if Day(l.At) > day {
				return errors.New("a line of the access log is of a later day than its file")
			}
			out.Lines++
			head := hex.EncodeToString(after[:])
			seen[head] = true
			if vouched[head] {
				out.Vouched = out.Lines
			}
			return nil
		})
		if err != nil {
			out.Broken = append(out.Broken, day)
			continue
		}
		if i > 0 && first != before {
			out.Broken = append(out.Broken, day)
		}
		seen[hex.EncodeToString(first[:])] = true
		before = chain
	}
	for _, b := range beats {
		if Day(b.At) >= out.First && !seen[b.Head] {
			out.Unfound = append(out.Unfound, b)
		}
	}
	return out, nil
}
