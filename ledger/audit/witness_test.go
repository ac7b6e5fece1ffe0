package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/dossier"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/internal/tilefs"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/witness"
)

func witnessSigner(t testing.TB, name string) *torchwood.CosignatureSigner {
	t.Helper()
	s, err := torchwood.NewCosignatureSigner(name+".example", keyOf(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// witnessPolicy asks for so many of the named witnesses.
func witnessPolicy(t testing.TB, quorum int, names ...string) string {
	t.Helper()
	text := fmt.Sprintf("kind: WitnessPolicy\nquorum: %d\nwitnesses:\n", quorum)
	for i, n := range names {
		text += fmt.Sprintf("  - {by: health, key: %q, url: \"http://127.0.0.1:%d\"}\n", witnessSigner(t, n).Verifier().String(), 7000+i)
	}
	return text
}

// cosigned adds the cosignatures of the named witnesses to a checkpoint.
func cosigned(t testing.TB, checkpoint []byte, names ...string) []byte {
	t.Helper()
	text, _, _ := strings.Cut(string(checkpoint), "\n\n")
	for _, n := range names {
		s := witnessSigner(t, n)
		signed, err := note.Sign(&note.Note{Text: text + "\n"}, s)
		if err != nil {
			t.Fatal(err)
		}
		_, lines, _ := strings.Cut(string(signed), "\n\n")
		var ok bool
		if checkpoint, ok = witness.Add(checkpoint, []byte(lines), s.Verifier()); !ok {
			t.Fatal("not cosigned")
		}
	}
	return checkpoint
}

// watched is a ledger with a witness policy, 2 of 3, from its middle on.
func watched(t testing.TB) *book {
	b := begun(t)
	b.policy(false, witnessPolicy(t, 2, "a", "b", "c"), "data_bureau")
	b.now = b.now.Add(time.Minute)
	b.release(false, b.decide(b.ask("q1"), nil))
	b.decide(b.ask("q1"), nil)
	b.now = b.now.Add(time.Minute)
	b.add(false, entry.KindHeartbeat, "gateway", func(e *entry.Entry) { e.Heartbeat = &entry.Beat{Released: 1} })
	return b
}

// A published checkpoint without the cosignatures that the policy in force asks for
// fails the audit; within the patience of the policy it is told.
func TestR30_WitnessesAreAudited(t *testing.T) {
	b := watched(t)
	w := write(t, b.entries, "log", state.New())
	late := watched(t)
	late.now = late.now.Add(time.Hour)
	late.add(false, entry.KindHeartbeat, "gateway", func(e *entry.Entry) { e.Heartbeat = &entry.Beat{Released: 1} })
	lw := write(t, late.entries, "log", state.New())
	changed := watched(t)
	changed.policy(false, strings.Replace(witnessPolicy(t, 1, "d"), "7000", "7009", 1), "data_bureau")
	cw := write(t, changed.entries, "log", state.New())
	otherHistory := write(t, append(slices.Clone(b.entries[:len(b.entries)-2]), b.entries[0], b.entries[1]), "log", anything{})
	for name, c := range map[string]struct {
		w         *written
		witnessed []byte // nil: no file
		code      string // expected finding; empty for none
		ok        bool
		size      uint64
	}{
		"2 of 3":                    {w, cosigned(t, w.last, "a", "c"), "", true, uint64(len(b.entries))},
		"3 of 3":                    {w, cosigned(t, w.last, "a", "b", "c"), "", true, uint64(len(b.entries))},
		"1 of 3":                    {w, cosigned(t, w.last, "a"), "COSIGNATURES_LACK", false, 0},
		"one twice":                 {w, cosigned(t, w.last, "a", "a"), "COSIGNATURES_LACK", false, 0},
		"strangers":                 {w, cosigned(t, w.last, "a", "x", "y"), "COSIGNATURES_LACK", false, 0},
		"the log's signature alone": {w, w.last, "COSIGNATURES_LACK", false, 0},
		"none yet":                  {w, nil, "WITNESSES_BEHIND", true, 0},
		"the middle":                {w, cosigned(t, w.middle, "a", "b"), "WITNESSES_BEHIND", true, w.middleAt},
		"none for an hour":          {lw, nil, "NOT_WITNESSED", false, 0},
		"silent for an hour":        {lw, cosigned(t, lw.middle, "a", "b"), "NOT_WITNESSED", false, lw.middleAt},
		"of another history":        {w, cosigned(t, otherHistory.last, "a", "b"), "WITNESSED_INCONSISTENT", false, 0},
		"garbage":                   {w, []byte("x"), "WITNESSED_INCONSISTENT", false, 0},
		"by the policy of before":   {cw, cosigned(t, cw.last, "a", "b"), "COSIGNATURES_LACK", false, 0},
		"by the policy of now":      {cw, cosigned(t, cw.last, "d"), "", true, uint64(len(changed.entries))},
		"of before, where it held":  {cw, cosigned(t, cw.middle, "a", "b"), "WITNESSES_BEHIND", true, cw.middleAt},
	} {
		path := filepath.Join(c.w.dir, evidence.WitnessedFile)
		if c.witnessed == nil {
			os.Remove(path)
		} else if err := os.WriteFile(path, c.witnessed, 0o644); err != nil {
			t.Fatal(err)
		}
		r := audit(t, c.w.dir, Options{Trust: trust(t)})
		if r.OK != c.ok || c.code != "" && found(r, c.code) == "" || c.code == "" && len(r.Findings) > 0 || r.Witnessed != c.size || !r.SecondReader {
			t.Errorf("%s: ok %v, witnessed %d, %+v", name, r.OK, r.Witnessed, r.Findings)
		}
	}
}

// Two checkpoints saved at any time are held against each other.
func TestR30_SavedCheckpointsContradict(t *testing.T) {
	b := whole(t)
	w := write(t, b.entries, "log", state.New())
	other := write(t, append(slices.Clone(b.entries), b.entries[0]), "log", anything{})
	again := write(t, append(slices.Clone(b.entries), b.entries[1]), "log", anything{})
	r := audit(t, w.dir, Options{Trust: trust(t), Earlier: [][]byte{other.last, again.last}})
	if r.OK || found(r, "TWO_HISTORIES") == "" || found(r, "INCONSISTENT") == "" {
		t.Errorf("%+v", r.Findings)
	}
}

// evidenceOf makes the evidence of a job from a ledger on disk.
func evidenceOf(t testing.TB, b *book, w *written, job string, checkpoint []byte) *dossier.File {
	t.Helper()
	cp, err := torchwood.ParseCheckpoint(strings.SplitAfter(string(checkpoint), "\n\n")[0][:strings.Index(string(checkpoint), "\n\n")+1])
	if err != nil {
		t.Fatal(err)
	}
	client, err := torchwood.NewClient(tilefs.Reader{FS: os.DirFS(w.dir)})
	if err != nil {
		t.Fatal(err)
	}
	j, _ := b.s.Job(job)
	first := j
	if j.RepeatOf != "" {
		first, _ = b.s.Job(j.RepeatOf)
	}
	seqs, err := dossier.Bundles(b.s.Bundles(b.s.Size()), max(first.Seq, j.Seq), uint64(cp.N), j.Request, func(seq uint64) (*entry.Entry, error) { return entry.Decode(b.entries[seq]) })
	if err != nil {
		t.Fatal(err)
	}
	seqs = append(seqs, 0, first.Seq, first.FinishSeq, j.Seq)
	slices.Sort(seqs)
	f := &dossier.File{Format: dossier.Format, Job: job, Checkpoint: string(checkpoint)}
	for _, seq := range slices.Compact(seqs) {
		text, path, err := client.Entry(context.Background(), cp.Tree, int64(seq))
		if err != nil {
			t.Fatal(err)
		}
		f.Entries = append(f.Entries, dossier.Entry{Index: seq, Text: string(text), Hashes: path})
	}
	return f
}

// The evidence of a release holds by itself, and does not when anything in it is
// changed, left out or signed by others.
func TestR30_EvidenceInOneFile(t *testing.T) {
	b := watched(t)
	jobs := b.s.Jobs()
	w := write(t, b.entries, "log", state.New())
	cp := cosigned(t, w.last, "a", "b")
	opt := dossier.Options{Trust: *trust(t)}
	for _, job := range jobs {
		f := evidenceOf(t, b, w, job, cp)
		text, err := f.Encode()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := dossier.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		r, err := parsed.Verify(opt)
		if err != nil {
			t.Fatalf("%s: %v", job, err)
		}
		if r.Operator != "alpha" || r.Licence != "alpha-2026" || r.Digest == "" || r.Quorum != 2 || len(r.Cosigned) != 2 || r.Size != uint64(len(b.entries)) || (r.RepeatOf != "") != (job == jobs[1]) {
			t.Errorf("%+v", r)
		}
	}
	drop := func(has func(e *entry.Entry) bool) func(*dossier.File) {
		return func(f *dossier.File) {
			f.Entries = slices.DeleteFunc(f.Entries, func(x dossier.Entry) bool {
				e, err := entry.Decode([]byte(x.Text))
				return err == nil && has(e)
			})
		}
	}
	kind := func(k string) func(*entry.Entry) bool {
		return func(e *entry.Entry) bool {
			return e.Policy != nil && strings.Contains(fmt.Sprint(e.Policy.Kinds), k)
		}
	}
	for name, change := range map[string]func(f *dossier.File){
		"no genesis":       drop(func(e *entry.Entry) bool { return e.Genesis != nil }),
		"no registry":      drop(kind("Registry")),
		"no licence":       drop(kind("Licence")),
		"no catalogue":     drop(kind("Catalogue")),
		"no reservation":   drop(func(e *entry.Entry) bool { return e.Reserved != nil }),
		"no release":       drop(func(e *entry.Entry) bool { return e.Released != nil }),
		"another job":      func(f *dossier.File) { f.Job = "0123456789abcdef0123" },
		"an entry changed": func(f *dossier.File) { f.Entries[1].Text += " " },
		"out of order":     func(f *dossier.File) { slices.Reverse(f.Entries) },
		"another index":    func(f *dossier.File) { f.Entries[2].Index++ },
		"a hash changed":   func(f *dossier.File) { f.Entries[2].Hashes[0][0] ^= 1 },
		"one cosignature":  func(f *dossier.File) { f.Checkpoint = string(cosigned(t, w.last, "a")) },
		"no cosignature":   func(f *dossier.File) { f.Checkpoint = string(w.last) },
		"a stranger's":     func(f *dossier.File) { f.Checkpoint = string(cosigned(t, w.last, "a", "x")) },
		"other checkpoint": func(f *dossier.File) { f.Checkpoint = string(cosigned(t, w.middle, "a", "b")) },
		"nothing":          func(f *dossier.File) { *f = dossier.File{Format: dossier.Format} },
	} {
		f := evidenceOf(t, b, w, jobs[0], cp)
		change(f)
		if _, err := f.Verify(opt); err == nil {
			t.Errorf("%s: the evidence holds", name)
		}
	}
	// Whoever holds a witness's key asks for its word, whatever the file says.
	f := evidenceOf(t, b, w, jobs[0], cp)
	for who, want := range map[string]bool{"a": true, "c": false} {
		pinned := opt
		pinned.Witnesses = witness.Policy{Quorum: 1, Parties: []witness.Party{{Key: witnessSigner(t, who).Verifier()}}}
		if _, err := f.Verify(pinned); (err == nil) != want {
			t.Errorf("with the key of %s: %v", who, err)
		}
	}
	unwatched := evidenceOf(t, b, w, jobs[0], cp)
	drop(kind("WitnessPolicy"))(unwatched)
	unwatched.Checkpoint = string(w.last)
	if r, err := unwatched.Verify(opt); err != nil || r.Quorum != 0 || len(r.Cosigned) != 0 {
		t.Errorf("without its policy: %+v %v", r, err)
	}
	other := *trust(t)
	other.RegulatorKey = publicText("somebody")
	if _, err := f.Verify(dossier.Options{Trust: other}); err == nil {
		t.Error("it holds under other keys")
	}
}

// A licence that an owner of the data did not sign is no ground, though the log and
// its witnesses vouch for the entry.
func TestR30_EvidenceAsksForTheOwnersSignatures(t *testing.T) {
	for _, missing := range []string{"", "public_security", "data_bureau"} {
		b := begun(t)
		signers := slices.DeleteFunc(append([]string{"data_bureau"}, owners...), func(s string) bool { return s == missing })
		b.policy(missing != "", load(t, "licences/alpha-2026.yaml")+"# dated\n", signers...)
		a := b.ask("q1")
		d := b.s.Decide(a)
		b.add(missing != "", d.Kind(), a.Operator, func(e *entry.Entry) { e.Reserved, e.Signed = d.Reserved, b.signed(a, a.Operator) })
		seq := uint64(len(b.entries))
		b.release(missing != "", a.Request.Job)
		w := write(t, b.entries, "log", anything{})
		f := &dossier.File{Format: dossier.Format, Job: a.Request.Job, Checkpoint: string(w.last)}
		cp, err := torchwood.ParseCheckpoint(string(w.last)[:strings.Index(string(w.last), "\n\n")+1])
		if err != nil {
			t.Fatal(err)
		}
		client, err := torchwood.NewClient(tilefs.Reader{FS: os.DirFS(w.dir)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range seq + 1 {
			e, err := entry.Decode(b.entries[i])
			if err != nil {
				t.Fatal(err)
			}
			if e.Genesis == nil && e.Policy == nil && e.Reserved == nil && e.Released == nil {
				continue
			}
			text, path, err := client.Entry(context.Background(), cp.Tree, int64(i))
			if err != nil {
				t.Fatal(err)
			}
			f.Entries = append(f.Entries, dossier.Entry{Index: i, Text: string(text), Hashes: path})
		}
		if _, err := f.Verify(dossier.Options{Trust: *trust(t)}); (err == nil) != (missing == "") {
			t.Errorf("without the signature of %q: %v", missing, err)
		}
	}
}

// FuzzEvidence: no panic, whatever is in a file.
func FuzzEvidence(f *testing.F) {
	genesis, err := json.Marshal(trust(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"format":"sandgate-evidence/v1","job":"x","checkpoint":"` + origin + `\n1\nAAAA\n\n","entries":[{"index":0,"entry":"{}","hashes":[]}]}`))
	f.Add(genesis)
	f.Add([]byte(`{"format":"sandgate-evidence/v1","entries":[{"index":18446744073709551615,"hashes":["` + (tlog.Hash{}).String() + `"]}]}`))
	opt := dossier.Options{Trust: *trust(f)}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := dossier.Parse(data)
		if err != nil {
			return
		}
		if r, err := file.Verify(opt); err == nil {
			t.Errorf("holds: %+v", r)
		}
		if again, err := file.Encode(); err != nil || !bytes.Contains(again, []byte(dossier.Format)) {
			t.Errorf("%q %v", again, err)
		}
	})
}
