// Package witnessd is a witness of C2SP tlog-witness on a machine of its own: a
// directory with its key and the heads it cosigned, and the HTTP service around the
// decisions of package witness.
package witnessd

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger/wal"
	"github.com/sandgate/sandgate/ledger/witness"
)

const (
	keyFile  = "witness.key" // name and seed; mode 0600
	logsDir  = "logs"
	eventsIn = "events.jsonl"
	alarmsIn = "alarms"
)

// Home is a witness's directory, open in this process alone.
type Home struct {
	dir    string
	signer *torchwood.CosignatureSigner
	lock   *os.File
	fault  wal.Fault // test hook
	now    func() time.Time

	mu   sync.Mutex // guards the logs, the events and the alarms
	logs map[string]*served
}

// served is a log and the head that was cosigned last.
type served struct {
	Log
	keys note.Verifiers
	path string
	head witness.Head
}

// Log is what is known of a log that is witnessed.
type Log struct {
	Origin string   `json:"origin"`
	Keys   []string `json:"keys"` // vkeys of C2SP signed-note
	Size   int64    `json:"size"`
	Root   string   `json:"root"` // base64
	// Checkpoint that was cosigned last, as it came; empty before the first.
	Checkpoint string    `json:"checkpoint,omitempty"`
	At         time.Time `json:"at,omitzero"` // when it was cosigned
}

// Create makes a witness's directory with a new key.
func Create(dir, name string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("failed to make the witness's directory: %w", err)
	}
	if have, err := os.ReadDir(dir); err != nil || len(have) > 0 {
		return errors.Join(fmt.Errorf("directory %s is not empty: a witness that has cosigned must not be made anew", dir), err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("failed to draw the witness's key: %w", err)
	}
	if _, err := torchwood.NewCosignatureSigner(name, key); err != nil || len(name) > 128 {
		return fmt.Errorf("%q is no name of a witness: no blanks, no plus sign, at most 128 bytes, such as regulator.example/witness", name)
	}
	if err := os.Mkdir(filepath.Join(dir, logsDir), 0o700); err != nil {
		return fmt.Errorf("failed to make the witness's directory: %w", err)
	}
	text := name + "\n" + base64.StdEncoding.EncodeToString(key.Seed()) + "\n"
	f, err := os.OpenFile(filepath.Join(dir, keyFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("failed to write the witness's key: %w", err)
	}
	err = durable.Around("witness.key", func() error {
		_, err := f.WriteString(text)
		return errors.Join(err, f.Sync())
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("failed to write the witness's key: %w", err)
	}
	return nil
}

// Open opens a witness's directory and locks it. It refuses one without its key or
// with a damaged head: a witness that forgot what it cosigned is none.
func Open(dir string) (h *Home, err error) {
	key, name, err := readKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	h = &Home{dir: dir, now: time.Now, logs: map[string]*served{}}
	if h.signer, err = torchwood.NewCosignatureSigner(name, key); err != nil {
		return nil, fmt.Errorf("failed to make the witness's signer: %w", err)
	}
	if h.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("failed to open the witness's lock: %w", err)
	}
	if err := syscall.Flock(int(h.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("failed to lock %s, another process has this witness open: %w", dir, err), h.lock.Close())
	}
	if h.logs, err = readLogs(dir); err != nil {
		return nil, errors.Join(err, h.lock.Close())
	}
	return h, nil
}

// Close lets go of the directory.
func (h *Home) Close() error { return h.lock.Close() }

// Key is the witness's public key in the text form of C2SP signed-note, type 4.
func (h *Home) Key() string { return h.signer.Verifier().String() }

func readKey(path string) (ed25519.PrivateKey, string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", fmt.Errorf("failed to find the witness's key, make a witness with sandgate witness init: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, "", fmt.Errorf("others can read %s: chmod 600 it", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("failed to read the witness's key: %w", err)
	}
	name, rest, _ := strings.Cut(string(text), "\n")
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(rest, "\n"))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, "", fmt.Errorf("%s is damaged", path)
	}
	return ed25519.NewKeyFromSeed(seed), name, nil
}

// Key reads the public key of a witness's directory, which may be in use.
func Key(dir string) (string, error) {
	key, name, err := readKey(filepath.Join(dir, keyFile))
	if err != nil {
		return "", err
	}
	s, err := torchwood.NewCosignatureSigner(name, key)
	if err != nil {
		return "", fmt.Errorf("failed to make the witness's signer: %w", err)
	}
	return s.Verifier().String(), nil
}

func readLogs(dir string) (map[string]*served, error) {
	files, err := os.ReadDir(filepath.Join(dir, logsDir))
	if err != nil {
		return nil, fmt.Errorf("failed to list the witnessed logs: %w", err)
	}
	out := map[string]*served{}
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".json" {
			continue // left over by a write that was broken off
		}
		l, err := readLog(filepath.Join(dir, logsDir, f.Name()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w; bring back the newest copy: a witness that forgot what it cosigned must not go on", f.Name(), err)
		}
		out[l.Origin] = l
	}
	// A record that is gone would let a second history be signed: which there must be
	// stands in a file of its own.
	known, err := readKnown(dir)
	if err != nil {
		return nil, err
	}
	for _, origin := range known {
		if out[origin] == nil {
			return nil, fmt.Errorf("the record of log %q is gone; bring back the newest copy: a witness that forgot what it cosigned must not go on", origin)
		}
	}
	return out, nil
}

// knownFile lists the origins of the logs that were added.
const knownFile = "logs.json"

func readKnown(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, knownFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no log was added
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read the list of witnessed logs: %w", err)
	}
	var out []string
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, errors.New("the list of witnessed logs is damaged; bring back the newest copy")
	}
	return out, nil
}

// know adds an origin to the list, before anything is signed for it.
func (h *Home) know(origin string) error {
	known, err := readKnown(h.dir)
	if err != nil || slices.Contains(known, origin) {
		return err
	}
	text, err := json.Marshal(append(known, origin))
	if err != nil {
		return fmt.Errorf("failed to encode the list of witnessed logs: %w", err)
	}
	return wal.WriteDurable(filepath.Join(h.dir, knownFile), append(text, '\n'), "witness.known", h.fault)
}

func readLog(path string) (*served, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("failed to read a witnessed log: %w", err)
	}
	l := &served{path: path}
	if err := json.Unmarshal(text, &l.Log); err != nil {
		return nil, errors.New("the file is damaged")
	}
	if l.keys, err = verifiers(l.Origin, l.Keys); err != nil {
		return nil, err
	}
	if filepath.Base(path) != fileOf(l.Origin) {
		return nil, errors.New("the file is of another log than its name says")
	}
	root, err := tlog.ParseHash(l.Root)
	if err != nil || l.Size < 0 {
		return nil, errors.New("the file is damaged")
	}
	l.head.Tree = tlog.Tree{N: l.Size, Hash: root}
	if l.Checkpoint == "" {
		if l.Size != 0 {
			return nil, errors.New("the file is damaged")
		}
		return l, nil
	}
	l.head.Checkpoint = []byte(l.Checkpoint)
	n, err := note.Open(l.head.Checkpoint, l.keys)
	if err != nil {
		return nil, errors.New("the checkpoint in it is not signed by the log")
	}
	cp, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil || cp.Origin != l.Origin || cp.Tree != l.head.Tree {
		return nil, errors.New("the checkpoint in it is another than the one it names")
	}
	return l, nil
}

func verifiers(origin string, keys []string) (note.Verifiers, error) {
	var out []note.Verifier
	for _, k := range keys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return nil, fmt.Errorf("a key of log %q is not a verifier key: %w", origin, err)
		}
		out = append(out, v)
	}
	if origin == "" || len(out) == 0 {
		return nil, errors.New("a log needs an origin and a key")
	}
	return note.VerifierList(out...), nil
}

// fileOf names the file of a log by a hash: an origin may hold any character.
func fileOf(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:8]) + ".json"
}

// Add makes the witness serve a log, or trust one more key of a log it serves: the
// head that was cosigned stays.
func (h *Home) Add(origin, key string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, ok := h.logs[origin]
	next := &served{Log: Log{Origin: origin, Root: tlog.Hash{}.String()}, path: filepath.Join(h.dir, logsDir, fileOf(origin))}
	if ok {
		next.Log, next.head = l.Log, l.head
		if slices.Contains(l.Keys, key) {
			return nil
		}
	}
	next.Keys = append(slices.Clone(next.Keys), key)
	var err error
	if next.keys, err = verifiers(origin, next.Keys); err != nil {
		return err
	}
	if err := h.write(next); err != nil {
		return err
	}
	if err := h.know(origin); err != nil {
		return err
	}
	h.logs[origin] = next
	return nil
}

// Logs lists what is witnessed, by origin.
func (h *Home) Logs() []Log {
	h.mu.Lock()
	defer h.mu.Unlock()
	return sorted(h.logs)
}

func sorted(logs map[string]*served) []Log {
	var out []Log
	for _, l := range logs {
		out = append(out, l.Log)
	}
	slices.SortFunc(out, func(a, b Log) int { return strings.Compare(a.Origin, b.Origin) })
	return out
}

func (h *Home) write(l *served) error {
	text, err := json.MarshalIndent(l.Log, "", "  ")
	if err != nil {
		return fmt.Errorf("failed to encode a witnessed log: %w", err)
	}
	return wal.WriteDurable(l.path, append(text, '\n'), "witness", h.fault)
}

// answer answers one add-checkpoint request. A cosignature is returned only when the
// head it speaks for is on the disk; checking and writing are one step.
func (h *Home) answer(body []byte) (witness.Verdict, []byte, error) {
	r, err := witness.ParseRequest(body)
	if err != nil {
		h.record("", witness.Malformed(), 0)
		return witness.Malformed(), nil, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l, ok := h.logs[r.Origin()]
	if !ok {
		h.recordLocked(r.Origin(), witness.UnknownLog(), r.Old)
		return witness.UnknownLog(), nil, nil
	}
	v := witness.Decide(l.Origin, l.keys, l.head, r)
	if v.Code.Alarm() {
		if err := h.keepAlarm(l, v, r.Checkpoint); err != nil {
			return v, nil, err
		}
	}
	if v.Status != 200 {
		h.recordLocked(l.Origin, v, r.Old)
		return v, fmt.Appendf(nil, "%d\n", l.head.Tree.N), nil
	}
	next := *l
	next.head, next.Size, next.Root = v.Next, v.Next.Tree.N, v.Next.Tree.Hash.String()
	next.Checkpoint, next.At = string(v.Next.Checkpoint), h.now().UTC()
	if l.head.Checkpoint == nil || l.head.Tree != v.Next.Tree {
		if err := h.write(&next); err != nil {
			return v, nil, err
		}
	}
	h.logs[l.Origin] = &next
	signed, err := note.Sign(&note.Note{Text: v.Text}, h.signer)
	if err != nil {
		return v, nil, fmt.Errorf("failed to cosign: %w", err)
	}
	_, line, found := strings.Cut(string(signed), "\n\n")
	if !found {
		return v, nil, errors.New("failed to cosign: the signed note has no signature")
	}
	return v, []byte(line), nil
}
