package state

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/policies"
)

// twins counts, by kind, the entries of all tests of this package that were applied
// to a restored state beside the one that replayed everything.
var twins = map[entry.Kind]int{}

// untwinned are the kinds that come before there is a state to write down.
var untwinned = []entry.Kind{entry.KindGenesis}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if run := flag.Lookup("test.run"); code == 0 && run.Value.String() == "" && flag.Lookup("test.fuzz").Value.String() == "" {
		for _, kind := range everyKind {
			if twins[kind] == 0 && !slices.Contains(untwinned, kind) {
				fmt.Printf("no test continues a restored state with an entry of kind %s\n", kind)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// everyKind lists the kinds of entry; TestEveryKindIsListed keeps it whole.
var everyKind = []entry.Kind{entry.KindGenesis, entry.KindStarted, entry.KindStopped, entry.KindHeartbeat, entry.KindPolicy, entry.KindSnapshot, entry.KindRefused, entry.KindReserved,
	entry.KindRepeated, entry.KindReleased, entry.KindFailed, entry.KindRisk, entry.KindDutyNoted, entry.KindDestroyed, entry.KindRotated, entry.KindRestored, entry.KindOrdered,
	entry.KindAnnounced, entry.KindErased, entry.KindVerificationRefused, entry.KindVerificationReserved, entry.KindVerificationAnswered, entry.KindVerificationFailed,
	entry.KindModelRefused, entry.KindModelReserved, entry.KindModelCertified, entry.KindModelFailed, entry.KindModelScored, entry.KindModelModule,
	entry.KindTwinReserved, entry.KindTwinPublished, entry.KindTwinFailed, entry.KindRelationsReserved, entry.KindRelationsPublished, entry.KindRelationsFailed,
	entry.KindHubProposed, entry.KindHubReleased, entry.KindHubFailed,
	entry.KindRoundJoined, entry.KindRoundAnswered, entry.KindRoundEnded, entry.KindRoundVerdict,
	entry.KindHubModelAsked, entry.KindHubModelPass, entry.KindHubModelAnswered, entry.KindHubModelMissed, entry.KindHubModelJudged, entry.KindHubModelCertified, entry.KindHubModelEnded,
	entry.KindMarked, entry.KindRecorded}

// An entry has one body for each kind but one.
func TestEveryKindIsListed(t *testing.T) {
	bodies := 0
	for f := range reflect.TypeFor[entry.Entry]().Fields() {
		if f.Type.Kind() == reflect.Pointer && f.Name != "Signed" {
			bodies++
		}
	}
	if bodies+1 != len(everyKind) {
		t.Fatalf("an entry has %d bodies; %d kinds are listed: list the new kind, and have a test write it", bodies, len(everyKind))
	}
}

// twin is a state restored from w's, for the first entries of each kind and some later
// ones; nil for the rest.
func (w *world) twin(kind entry.Kind) *State {
	w.t.Helper()
	if w.s.genesis == nil || twins[kind] >= 6 && w.s.next%61 != 0 {
		return nil
	}
	twins[kind]++
	c := written(w.t, &Recorder{}, w.s)
	s, _, err := Restore(c, c.Hash())
	if err != nil {
		w.t.Fatal(err)
	}
	sameState(w.t, "restored", w.s, s)
	return s
}

func written(t testing.TB, r *Recorder, s *State) *Carried {
	t.Helper()
	capture, err := r.Capture(s)
	if err != nil {
		t.Fatal(err)
	}
	c, err := capture.Carried()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// both applies an entry to a state and to its twin, which must say and become the same.
func both(t testing.TB, s, twin *State, seq uint64, text []byte) error {
	t.Helper()
	err, twinErr := s.Apply(seq, text), twin.Apply(seq, text)
	if fmt.Sprint(err) != fmt.Sprint(twinErr) {
		t.Fatalf("the replayed state says %v, the restored %v", err, twinErr)
	}
	sameState(t, "continued", s, twin)
	return err
}

// sameState compares two states field by field, unexported ones too, and by their
// encodings. A chain holds closures, which cannot be compared: its keys are.
func sameState(t testing.TB, what string, a, b *State) {
	t.Helper()
	if x, y := written(t, &Recorder{}, a), written(t, &Recorder{}, b); !bytes.Equal(x.Head(), y.Head()) {
		t.Fatalf("%s: the states are written differently: live %v, book %v", what, bytes.Equal(x.Live, y.Live), bytes.Equal(x.Book, y.Book))
	}
	x, y := *a, *b
	x.keys.chain, y.keys.chain = nil, nil
	for i := range reflect.TypeOf(x).NumField() {
		f := reflect.TypeOf(x).Field(i)
		if f.Name == "book" {
			continue // remembers what was computed of it; its fields are all in the encoding
		}
		if !sameFields(reflect.ValueOf(&x).Elem().Field(i), reflect.ValueOf(&y).Elem().Field(i)) {
			t.Fatalf("%s: field %s differs", what, f.Name)
		}
	}
	if x, y := a.keys.chain, b.keys.chain; x != nil && !slices.EqualFunc(x.Terms(), y.Terms(), func(p, q evidence.Term) bool {
		return p.Key == q.Key && p.From == q.From && p.Until == q.Until && p.Verifier.KeyHash() == q.Verifier.KeyHash()
	}) {
		t.Fatalf("%s: the chain of keys differs", what)
	}
}

func sameFields(a, b reflect.Value) bool {
	x, y := reflect.New(a.Type()), reflect.New(b.Type())
	copyInto(x, a)
	copyInto(y, b)
	return reflect.DeepEqual(x.Interface(), y.Interface())
}

// copyInto copies a field that may be unexported.
func copyInto(to, field reflect.Value) {
	to.Elem().Set(reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem())
}

// R33: the fields that are not written are those that are made again, and no others:
// whoever adds a field to the state either has it written, or meets this test.
func TestNoFieldIsLeftOut(t *testing.T) {
	c, err := carried()
	if err != nil {
		t.Fatalf("a field of the state cannot be written: %v", err)
	}
	layout := c.live.Layout() + c.book.Layout() + c.jobs.Layout() + c.verifications.Layout()
	for _, x := range []struct {
		of   reflect.Type
		made []string
	}{
		{reflect.TypeFor[State](), []string{"book", "jobs", "order", "answers", "requests"}},
		{reflect.TypeFor[verifications](), []string{"all", "order", "answers", "asked", "told", "subjects"}},
		{reflect.TypeFor[Job](), nil}, {reflect.TypeFor[models](), nil}, {reflect.TypeFor[Model](), nil}, {reflect.TypeFor[synthetics](), nil}, {reflect.TypeFor[Twin](), nil}, {reflect.TypeFor[relations](), nil}, {reflect.TypeFor[Relations](), nil}, {reflect.TypeFor[Verification](), nil}, {reflect.TypeFor[rotation](), nil}, {reflect.TypeFor[desk](), nil}, {reflect.TypeFor[conduct](), nil},
		{reflect.TypeFor[usage](), nil}, {reflect.TypeFor[policies.Book](), []string{"memory"}}, {reflect.TypeFor[policies.Entry](), []string{"derived"}},
	} {
		var line string
		for l := range strings.Lines(layout) {
			if strings.HasPrefix(l, x.of.PkgPath()+"."+x.of.Name()+" {") {
				line = l
			}
		}
		for f := range x.of.Fields() {
			has := strings.Contains(line, "{"+f.Name+" ") || strings.Contains(line, "; "+f.Name+" ")
			if has == slices.Contains(x.made, f.Name) {
				t.Errorf("%s.%s: written %v; it is written unless Restore makes it again", x.of.Name(), f.Name, has)
			}
		}
	}
}

// What a Recorder writes bit by bit is what is written at once.
func TestRecorderGrows(t *testing.T) {
	w := city(t)
	r := &Recorder{}
	texts := map[Hash][]byte{}
	fill := func(list []Segment) {
		for i, s := range list {
			if s.Text != nil {
				texts[s.Hash] = s.Text
			}
			list[i].Text = texts[s.Hash]
		}
	}
	step := func() {
		t.Helper()
		c, whole := written(t, r, w.s), written(t, &Recorder{}, w.s)
		fill(c.Jobs)
		fill(c.Verifications)
		if !reflect.DeepEqual(c, whole) {
			t.Fatal("written in parts, a state differs from itself")
		}
		s, again, err := Restore(c, c.Hash())
		if err != nil {
			t.Fatal(err)
		}
		sameState(t, "restored", w.s, s)
		if !reflect.DeepEqual(again.jobs, r.jobs) || !reflect.DeepEqual(again.verifications, r.verifications) {
			t.Fatal("a restored recorder knows other things than the one that wrote")
		}
		if w.s.Size()%3 == 0 {
			r = again
		}
	}
	step()
	for i := range 12 {
		job := w.submit(w.ask("alpha", fmt.Sprint("query ", i), counted("population")), entry.KindReserved)
		step()
		if i%3 == 0 {
			w.must(w.failed(job))
		} else if i%3 == 1 {
			w.must(w.released(job))
		}
		step()
	}
}

// A record is of the last mark, and only the gateway writes either.
func TestRecordOfWhatWasMarked(t *testing.T) {
	w := city(t)
	record := func(size uint64, layout string) *entry.Entry {
		e := w.next(entry.KindRecorded, "gateway")
		e.Recorded = &entry.Recorded{Size: size, Layout: layout, Hash: strings.Repeat("ab", 32), Bytes: 1, Program: "test"}
		return e
	}
	mark := func() *entry.Entry {
		e := w.next(entry.KindMarked, "gateway")
		e.Marked = &entry.Marked{Layout: Layout()}
		return e
	}
	if err := w.try(record(w.s.Size(), Layout())); err == nil {
		t.Fatal("a record without a mark is taken")
	}
	other := mark()
	other.Actor = "alpha"
	if err := w.try(other); err == nil {
		t.Fatal("somebody else marks")
	}
	at := w.s.Size()
	w.must(mark())
	e := w.next(entry.KindHeartbeat, "gateway")
	e.Heartbeat = &entry.Beat{}
	w.must(e)
	for what, bad := range map[string]*entry.Entry{"another size": record(at+1, Layout()), "another layout": record(at, "0000000000000000")} {
		if err := w.try(bad); err == nil {
			t.Errorf("a record of %s is taken", what)
		}
	}
	if w.s.Recorded() != nil {
		t.Fatal("something was recorded")
	}
	good := record(at, Layout())
	w.must(good)
	if r := w.s.Recorded(); r == nil || r.Size != at || r.Seq != good.Seq {
		t.Fatalf("recorded %+v", r)
	}
	if err := w.try(record(at, Layout())); err == nil {
		t.Fatal("one mark is recorded twice")
	}
}

// Nothing is restored from bytes that are not those of the hash.
func TestRestoreRefusesOtherBytes(t *testing.T) {
	w := city(t)
	w.must(w.released(w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)))
	c := written(t, &Recorder{}, w.s)
	hash := c.Hash()
	for what, change := range map[string]func(*Carried){
		"live": func(c *Carried) { c.Live = bytes.Clone(c.Live); c.Live[len(c.Live)/2] ^= 1 },
		"book": func(c *Carried) { c.Book = c.Book[:len(c.Book)-1] },
		"segment": func(c *Carried) {
			c.Jobs = slices.Clone(c.Jobs)
			c.Jobs[0].Text = append(bytes.Clone(c.Jobs[0].Text), 0)
		},
		"missing": func(c *Carried) { c.Jobs = nil },
		"size":    func(c *Carried) { c.Size++ },
	} {
		bad := *c
		change(&bad)
		if _, _, err := Restore(&bad, hash); err == nil {
			t.Errorf("%s: other bytes are restored", what)
		}
	}
}

// Whatever the bytes are, restoring ends with a state or an error, and a state is
// written again as it was read.
func FuzzRestore(f *testing.F) {
	w := city(f)
	w.must(w.released(w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)))
	c := written(f, &Recorder{}, w.s)
	f.Add(c.Live, c.Book, c.Jobs[0].Text)
	f.Add(c.Live[:len(c.Live)/2], c.Book[1:], []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, live, book, jobs []byte) {
		x := &Carried{Size: c.Size, Live: live, Book: book, Jobs: []Segment{{Hash: sha256.Sum256(jobs), Text: jobs}}}
		s, _, err := Restore(x, x.Hash())
		if err != nil {
			return
		}
		if again := written(t, &Recorder{}, s); again.Size != x.Size {
			t.Fatal("a restored state is of another size")
		}
	})
}

// What was refused in a new year begins none: the counters made again are those of the
// year and month of the last reservation.
func TestCountersAreMadeAgain(t *testing.T) {
	at := func(year, month int) int64 {
		return time.Date(year, time.Month(month), 10, 0, 0, 0, 0, civil).UnixMilli()
	}
	reserved := func(id string, ms int64, ground entry.Ground) *Verification {
		r := entry.VerificationRequest{Verification: id, Subject: "s-" + id, Question: "q-" + id}
		return &Verification{Operator: "alpha", Request: r, At: ms, attributes: []string{"d.c"}, dataset: "d",
			Reserved: &entry.VerificationReserved{Request: r, Snapshot: "snap", Ground: ground}}
	}
	live := newVerifications()
	list := []*Verification{reserved("a", at(2025, 12), entry.GroundData), reserved("b", at(2026, 1), entry.GroundData), reserved("c", at(2026, 2), entry.GroundConsent)}
	for _, x := range list {
		live = live.at(time.UnixMilli(x.At))
		live.countYear(x)
		live.countMonth(x)
	}
	list = append(list, &Verification{Operator: "alpha", At: at(2027, 1)})
	again := verifications{year: live.year, month: live.month}
	again.recount(list)
	if !reflect.DeepEqual(again.asked, live.asked) || !reflect.DeepEqual(again.told, live.told) || !reflect.DeepEqual(again.subjects, live.subjects) {
		t.Fatalf("made again: %v %v %v; counted: %v %v %v", again.asked, again.told, again.subjects, live.asked, live.told, live.subjects)
	}
	if len(again.asked) != 2 || len(again.told) != 1 || len(again.subjects) != 1 {
		t.Fatalf("counted %d, %d, %d", len(again.asked), len(again.told), len(again.subjects))
	}
}
