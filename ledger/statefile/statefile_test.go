package statefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/ledgertest"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/wal"
)

const small = 150

// head is what a state is, in bytes.
func headOf(t testing.TB, s *state.State) []byte {
	t.Helper()
	c, err := (&state.Recorder{}).Capture(s)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Carried()
	if err != nil {
		t.Fatal(err)
	}
	return out.Head()
}

// reference is the state after a replay of everything.
func (p *place) reference() []byte {
	p.t.Helper()
	opt := p.opt
	opt.Dir = filepath.Join(p.base, "none")
	o, err := Open(p.t.Context(), opt)
	if err != nil {
		p.t.Fatal(err)
	}
	defer p.close(o)
	return headOf(p.t, o.State)
}

// starts opens the place, checks that the state is the one that a replay of everything
// leads to, and says how it was come by.
func (p *place) starts() *Opened {
	p.t.Helper()
	want := p.reference()
	o := p.open()
	if !bytes.Equal(headOf(p.t, o.State), want) {
		p.t.Fatal("the state is not the one that the ledger leads to")
	}
	p.close(o)
	return o
}

func (p *place) refused(what string, code Code) {
	p.t.Helper()
	o := p.open()
	p.close(o)
	if o.From != 0 || len(o.Refused) == 0 || o.Refused[0].Code != code || o.Start().Refused != string(code) || o.Replayed != o.State.Size() {
		p.t.Errorf("%s: started from %d, refused %v; want %s and a full replay", what, o.From, o.Refused, code)
	}
}

func (p *place) heads() []string {
	p.t.Helper()
	list, err := filepath.Glob(filepath.Join(p.opt.Dir, "*"+suffix))
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

func change(t testing.TB, path string, f func([]byte) []byte) (undo func()) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(f(bytes.Clone(old)))
	return func() { put(old) }
}

func flip(at func(n int) int) func([]byte) []byte {
	return func(text []byte) []byte { text[at(len(text))] ^= 1; return text }
}

// R33: a start reads the snapshot and what follows it, and comes to the state that a
// replay of everything comes to.
func TestR33_StartFromSnapshot(t *testing.T) {
	p := placeOf(t, small)
	if o := p.starts(); o.From != 0 || len(o.Refused) != 0 || o.Replayed != o.State.Size() {
		t.Fatalf("without a snapshot: from %d, replayed %d, refused %v", o.From, o.Replayed, o.Refused)
	}
	p.recorded(5)
	o := p.starts()
	if o.From != small || o.Replayed != 7 || o.State.Recorded() == nil || o.State.Recorded().Size != small {
		t.Fatalf("from %d, replayed %d, recorded %+v, refused %v", o.From, o.Replayed, o.State.Recorded(), o.Refused)
	}
	// An older one that the ledger names is as good; its tail is longer.
	p.recorded(3)
	if o := p.starts(); o.From != small+7 || o.Replayed != 5 {
		t.Fatalf("from %d, replayed %d", o.From, o.Replayed)
	}
	if err := os.Remove(p.heads()[1]); err != nil {
		t.Fatal(err)
	}
	if o := p.starts(); o.From != small || o.Replayed != 12 {
		t.Fatalf("from %d, replayed %d, refused %v", o.From, o.Replayed, o.Refused)
	}
	// Entries of before the snapshot can be read and proved.
	o = p.open()
	defer p.close(o)
	text, err := o.Log.Entry(17)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Log.WaitPublished(t.Context(), 17); err != nil {
		t.Fatal(err)
	}
	proof, err := o.Log.Prove(t.Context(), 17)
	if err != nil || !bytes.Equal(proof.Entry, text) {
		t.Fatalf("entry 17 is not the one that is proved: %v", err)
	}
}

// Only the newest two are kept, and what they hold.
func TestSnapshotsArePruned(t *testing.T) {
	p := placeOf(t, small)
	for range 4 {
		p.recorded(1)
	}
	if n := len(p.heads()); n != kept {
		t.Errorf("%d snapshots are kept", n)
	}
	if o := p.starts(); o.From == 0 {
		t.Errorf("refused %v", o.Refused)
	}
}

// R33: a damaged, cut off, foreign or other program's snapshot is refused by name, and
// everything is replayed.
func TestR33_BadSnapshotIsRefused(t *testing.T) {
	p := placeOf(t, small)
	p.recorded(2)
	file := p.heads()[0]
	segment := func() string {
		list, err := filepath.Glob(filepath.Join(p.opt.Dir, segmentsDir, "*"))
		if err != nil || len(list) == 0 {
			t.Fatalf("no segment: %v", err)
		}
		return list[0]
	}()
	for what, f := range map[string]func([]byte) []byte{
		"head, first byte": flip(func(int) int { return 0 }), "head, middle": flip(func(n int) int { return n / 2 }), "head, last byte": flip(func(n int) int { return n - 1 }),
		"empty":   func([]byte) []byte { return nil },
		"cut off": func(b []byte) []byte { return b[:len(b)-100] }, "longer": func(b []byte) []byte { return append(b, 0) },
	} {
		undo := change(t, file, f)
		p.refused(what, Damaged)
		undo()
	}
	undo := change(t, segment, flip(func(n int) int { return n / 2 }))
	p.refused("segment", Damaged)
	undo()
	hidden := segment + ".away"
	if err := os.Rename(segment, hidden); err != nil {
		t.Fatal(err)
	}
	p.refused("missing segment", Damaged)
	if err := os.Rename(hidden, segment); err != nil {
		t.Fatal(err)
	}
	p.opt.Program = "test 2"
	p.refused("another program", Version)
	p.opt.Program = "test 1"

	// Another history of the same ledger.
	other := placeOf(t, small)
	o := other.open()
	other.beats(o, 3)
	other.close(o)
	other.recorded(2)
	if err := errors.Join(os.RemoveAll(p.opt.Dir), os.CopyFS(p.opt.Dir, os.DirFS(other.opt.Dir))); err != nil {
		t.Fatal(err)
	}
	o = p.open()
	p.beats(o, 20) // its own entries lie where the other's snapshot stands
	p.close(o)
	p.refused("another history", Foreign)

	// A snapshot that stands where the ledger is, and that it does not name.
	p.recorded(0)
	list := p.heads()
	text, err := os.ReadFile(list[len(list)-1])
	if err != nil {
		t.Fatal(err)
	}
	h, err := parse(text)
	if err != nil || h.Origin != ledgertest.Origin {
		t.Fatal("the head of a sound snapshot is not read", err)
	}
}

// forge writes a snapshot in which nothing is spent, whole in itself: an attacker who can
// write the disk hands back every budget.
func forge(t *testing.T, p *place) *Snapshot {
	t.Helper()
	sizes, err := List(p.opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Read(p.opt.Dir, sizes[0], ledgertest.Origin, p.opt.Program)
	if err != nil {
		t.Fatal(err)
	}
	st, _, err := s.Restore(p.opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	f := reflect.ValueOf(st).Elem().FieldByName("filter")
	reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem().Set(reflect.ValueOf(&budget.Filter{}))
	c, err := (&state.Recorder{}).Capture(st)
	if err != nil {
		t.Fatal(err)
	}
	carried, err := c.Carried()
	if err != nil {
		t.Fatal(err)
	}
	s.State, s.Hash = *carried, carried.Hash()
	if _, err := Write(p.opt.Dir, s, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func spent(s *state.State) (n budget.Nano) {
	for _, id := range s.Jobs() {
		if j, _ := s.Job(id); j.Reserved != nil {
			for _, c := range j.Reserved.Charges {
				n += s.Spent(c.Scope)
			}
		}
	}
	return n
}

// R33: a snapshot that hands back budgets is refused, because the ledger gives another
// hash; without that comparison it would be taken.
func TestR33_ForgedSnapshotIsRefused(t *testing.T) {
	p := placeOf(t, small)
	p.recorded(2)
	forge(t, p)
	p.refused("forged", NotRecorded)
	p.opt.unchecked = true
	o := p.open()
	defer p.close(o)
	if o.From == 0 || spent(o.State) != 0 {
		t.Fatalf("without the check the attack fails, too: from %d, spent %d", o.From, spent(o.State))
	}
}

// R33: nor does it help to write an entry into the ledger that names the forged
// snapshot, and to have the guard remember it, without the log's key.
func TestR33_ForgedEntryIsRefused(t *testing.T) {
	p := placeOf(t, small)
	p.recorded(0)
	s := forge(t, p)
	dir := filepath.Join(p.base, "ledger")
	undo := change(t, filepath.Join(dir, wal.FileName), func(text []byte) []byte {
		// The entry that names the honest state, and the forged hash in its place; the chain
		// after it is made anew, as whoever writes the file can.
		r, err := wal.NewReaderFrom(bytes.NewReader(text), &s.Point.Place)
		if err != nil {
			t.Fatal(err)
		}
		out, chain := text[:s.Point.Ends[len(s.Point.Ends)-1]:s.Point.Ends[len(s.Point.Ends)-1]], s.Point.Chain
		for {
			rec, err := r.Next()
			if err != nil {
				return out
			}
			e, err := entry.Decode(rec.Entry)
			if err != nil {
				t.Fatal(err)
			}
			if e.Recorded != nil {
				e.Recorded.Hash = fmt.Sprintf("%x", s.Hash)
			}
			forged, err := entry.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			out, chain = wal.AppendRecord(out, chain, rec.Seq, rec.More, forged)
		}
	})
	o, err := Open(t.Context(), p.opt)
	if err == nil {
		t.Fatalf("a ledger with a forged entry opens: from %d, refused %v", o.From, o.Refused)
	}
	if !errors.Is(err, ledger.ErrRollback) {
		t.Errorf("refused by another rule than that of what was signed: %v", err)
	}
	undo()
	// Without a signature the entry is worth nothing, honest or not.
	checkpoint := filepath.Join(dir, "checkpoint")
	undo = change(t, checkpoint, func(text []byte) []byte { return bytes.Replace(text, []byte("— "), []byte("— x"), 1) })
	o, err = Open(t.Context(), p.opt)
	undo()
	if err == nil {
		if o.From != 0 || len(o.Refused) == 0 || o.Refused[0].Code != Unsigned {
			t.Errorf("unsigned: from %d, refused %v", o.From, o.Refused)
		}
		p.close(o)
	}
}

// R33: an old copy of ledger and snapshots together is what it was: refused.
func TestR33_OldCopyIsRefused(t *testing.T) {
	p := placeOf(t, small)
	p.recorded(2)
	old := t.TempDir()
	copyTree(t, p.base, old)
	p.recorded(2)
	for _, dir := range []string{"ledger", "state"} {
		if err := errors.Join(os.RemoveAll(filepath.Join(p.base, dir)), os.CopyFS(filepath.Join(p.base, dir), os.DirFS(filepath.Join(old, dir)))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(t.Context(), p.opt); !errors.Is(err, ledger.ErrRollback) {
		t.Fatalf("an old copy: %v", err)
	}
}

// R33: damage in what the start does not read is found while the log is in use.
func TestR33_DamageBehindIsFound(t *testing.T) {
	p := placeOf(t, small)
	p.recorded(2)
	file := filepath.Join(p.base, "ledger", wal.FileName)
	undo := change(t, file, flip(func(n int) int { return n / 3 }))
	o, err := Open(t.Context(), p.opt)
	if err != nil {
		t.Fatal(err)
	}
	if o.From == 0 {
		t.Fatalf("refused %v", o.Refused)
	}
	for begin := time.Now(); o.Log.Err() == nil; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("damage before the snapshot is not found")
		}
	}
	var damage *wal.CorruptError
	if err := o.Log.Err(); !errors.Is(err, ledger.ErrStopped) || !errors.As(err, &damage) {
		t.Errorf("stopped by %v", err)
	}
	_ = o.Log.Close()
	undo()
	// Behind the snapshot it is found at once, by either way.
	undo = change(t, file, flip(func(n int) int { return n - 100 }))
	if _, err := Open(t.Context(), p.opt); !errors.As(err, &damage) {
		t.Errorf("damage behind the snapshot: %v", err)
	}
	undo()
	// Sound, it stays in use.
	o = p.open()
	if o.From == 0 {
		t.Fatalf("refused %v", o.Refused)
	}
	p.beats(o, 3)
	p.close(o)
}

// R33: whatever step of writing a snapshot fails, the next start comes to the same state,
// from the snapshot before or by replay, and the next snapshot is sound.
func TestR33_FaultWhileWriting(t *testing.T) {
	var points []string
	for _, step := range []string{"state.record", "state.segment.write", "state.segment.rename", "state.segment.syncdir", "state.head.write", "state.head.rename", "state.head.syncdir", "state.prune"} {
		points = append(points, step+"/before", step+"/after")
	}
	shared := placeOf(t, small)
	shared.recorded(1)
	for _, point := range points {
		p := &place{t: t, base: t.TempDir()}
		copyTree(t, shared.base, p.base)
		p.opt = optionsOf(t, p.base)
		p.opt.Fault = failAt(point)
		o := p.open()
		if o.From == 0 {
			t.Fatalf("%s: refused %v", point, o.Refused)
		}
		p.beats(o, 2)
		// A job that is new makes a segment that is written.
		if strings.Contains(point, "segment") {
			o.Keeper.recorder = &state.Recorder{}
		}
		if _, err := o.Keeper.Record(t.Context(), appender(o)); !errors.Is(err, errFault) {
			t.Fatalf("%s: the fault did not happen: %v", point, err)
		}
		p.beats(o, 1)
		p.close(o)
		o = p.open()
		if o.From == 0 {
			t.Errorf("%s: refused %v", point, o.Refused)
		}
		made, err := o.Keeper.Record(t.Context(), appender(o))
		p.close(o)
		if err != nil {
			t.Fatalf("%s: the next snapshot: %v", point, err)
		}
		if after := p.starts(); after.From != made.Size {
			t.Errorf("%s: from %d, want %d; refused %v", point, after.From, made.Size, after.Refused)
		}
		if left, err := filepath.Glob(filepath.Join(p.opt.Dir, "*", "*.tmp")); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v", point, left)
		}
	}
}

// Whatever the bytes of a head are, reading ends with one or an error.
func FuzzHead(f *testing.F) {
	c, err := codec()
	if err != nil {
		f.Fatal(err)
	}
	good := c.Append(nil, &head{Origin: "o", Lengths: []uint32{70, 80}, Live: []byte("live"), Jobs: []state.Hash{{1}}})
	f.Add(good)
	f.Add(slices.Concat(good, []byte{0}))
	f.Add(binary.AppendUvarint(nil, 1<<40))
	f.Fuzz(func(t *testing.T, text []byte) {
		h := &head{}
		if err := c.Decode(text, h); err != nil {
			return
		}
		again := &head{}
		if err := c.Decode(c.Append(nil, h), again); err != nil || !reflect.DeepEqual(h, again) {
			t.Fatalf("read, written and read again, a head is another: %v", err)
		}
	})
}
