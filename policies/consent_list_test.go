package policies

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func keyNumber(i int) SubjectKey {
	return SubjectKey{byte(i * 37), byte(i >> 8), byte(i)}
}

func wholeSubject(k SubjectKey) string { return hex.EncodeToString(k[:]) + strings.Repeat("0", 32) }

func listDoc(id, whose, from, until string) string {
	return "kind: Consent\nid: " + id + "\ndepartment: dept\n" + whose + "licence: l1\npurposes: [plan]\ndatasets: [people]\nnot_before: " + from + "\nnot_after: " + until + "\ndocument: 柜\n"
}

// Whatever is recorded and withdrawn, in lists and one by one, the consents in force
// are those a reference finds that keeps every (consent, subject) for itself.
func TestR28_ConsentsAgainstAReference(t *testing.T) {
	base := consentTown(t)
	grown, ended := 0, 0
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 28))
		b, at := base, applied
		type one struct {
			id          string
			key         SubjectKey
			from, until time.Time
			gone        bool
		}
		var all []*one
		inForce := func(at time.Time) []SubjectKey {
			out := []SubjectKey{}
			for _, o := range all {
				if !o.gone && !at.Before(o.from) && at.Before(o.until) {
					out = append(out, o.key)
				}
			}
			slices.SortFunc(out, compareSubjects)
			return slices.Compact(out)
		}
		var use ConsentUse // gathered at used, of the ones in stood
		var stood []*one
		for i := range 60 {
			at = at.Add(time.Duration(r.IntN(72)) * time.Hour)
			put := func(text string) bool {
				next, err := tryAt(t, b, text, at, "dept")
				if err == nil {
					b = next
				}
				return err == nil
			}
			id := fmt.Sprintf("c%d", i)
			switch r.IntN(5) {
			case 0, 1:
				from := at.Add(time.Duration(r.IntN(5)-2) * 24 * time.Hour).Truncate(time.Second)
				until := from.Add(time.Duration(1+r.IntN(30)) * 24 * time.Hour)
				keys := []SubjectKey{keyNumber(r.IntN(20))}
				whose := "subject: " + wholeSubject(keys[0]) + "\n"
				if r.IntN(2) == 0 {
					for range r.IntN(6) {
						keys = append(keys, keyNumber(r.IntN(20)))
					}
					whose = "subjects: " + JoinSubjects(keys) + "\n"
				}
				slices.SortFunc(keys, compareSubjects)
				if !put(listDoc(id, whose, from.Format(time.RFC3339), until.Format(time.RFC3339))) {
					t.Fatal("a consent was refused")
				}
				for _, k := range slices.Compact(keys) {
					all = append(all, &one{id: id, key: k, from: from, until: until})
				}
			case 2:
				if len(all) == 0 {
					continue
				}
				which, ok := all[r.IntN(len(all))].id, false
				whole := slices.ContainsFunc(all, func(o *one) bool { return o.id == which && !o.gone })
				if ok = put(fmt.Sprintf("kind: ConsentWithdrawal\nconsent: %s\ndepartment: dept\n# %d\n", which, i)); !ok && whole {
					t.Fatal("a withdrawal was refused")
				}
				for _, o := range all {
					o.gone = o.gone || ok && o.id == which
				}
			default:
				key, which := keyNumber(r.IntN(20)), ""
				if len(all) > 0 && r.IntN(2) == 0 {
					o := all[r.IntN(len(all))]
					key, which = o.key, o.id
				}
				hit := func(o *one) bool { return o.key == key && (which == "" || o.id == which) }
				want := slices.ContainsFunc(all, func(o *one) bool { return !o.gone && hit(o) })
				text := fmt.Sprintf("kind: ConsentWithdrawal\ndepartment: dept\nsubject: %s\n# %d\n", wholeSubject(key), i)
				if which != "" {
					text += "consent: " + which + "\n"
				}
				if put(text) != want {
					t.Fatalf("seed %d, step %d: a withdrawal was taken, or not, and should have been %v", seed, i, want)
				}
				for _, o := range all {
					o.gone = o.gone || hit(o)
				}
			}
			if want, got := inForce(at), b.ConsentsFor("people", "l1", "plan", at).Subjects(); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: %d subjects, want %d", seed, i, len(got), len(want))
			}
			for k := range 20 {
				if got, want := b.Consented(wholeSubject(keyNumber(k)), "people", "l1", "plan", at), slices.Contains(inForce(at), keyNumber(k)); got != want {
					t.Fatalf("seed %d, step %d: subject %d: %v", seed, i, k, got)
				}
			}
			// What a job was let in with is upheld until one of it ends, and no longer.
			gone := slices.ContainsFunc(stood, func(o *one) bool { return o.gone || !at.Before(o.until) })
			if b.Upheld(use, at) == gone {
				t.Fatalf("seed %d, step %d: upheld %v", seed, i, !gone)
			}
			if gone {
				ended++
			} else if len(inForce(at)) > len(use.Subjects()) {
				grown++
			}
			if gone || i%9 == 0 {
				use, stood = b.ConsentsFor("people", "l1", "plan", at), nil
				for _, o := range all {
					if !o.gone && !at.Before(o.from) && at.Before(o.until) {
						stood = append(stood, o)
					}
				}
			}
		}
	}
	if grown < 5 || ended < 5 {
		t.Errorf("the cases are too poor: %d grew, %d ended", grown, ended)
	}
}

func TestR28_BadListsAreRefusedWithoutWhatTheyHold(t *testing.T) {
	b := consentTown(t)
	good := JoinSubjects([]SubjectKey{keyNumber(1), keyNumber(2)})
	raw, err := base64.StdEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	many := make([]SubjectKey, MaxSubjects+1)
	for i := range many {
		many[i] = SubjectKey{byte(i >> 8), byte(i)}
	}
	const number = "110101199003078515"
	for name, c := range map[string]struct{ whose, want string }{
		"a number":       {"subjects: '" + number + "'\n", "no list of commitments"},
		"cut short":      {"subjects: " + base64.StdEncoding.EncodeToString(raw[:30]) + "\n", "no list of commitments"},
		"out of order":   {"subjects: " + base64.StdEncoding.EncodeToString(append(slices.Clone(raw[16:]), raw[:16]...)) + "\n", "not in order"},
		"one twice":      {"subjects: " + base64.StdEncoding.EncodeToString(append(slices.Clone(raw[:16]), raw[:16]...)) + "\n", "each once"},
		"too many":       {"subjects: " + JoinSubjects(many) + "\n", "more than 2000"},
		"nobody":         {"", "exactly one of subject and subjects"},
		"both":           {"subject: " + subject1 + "\nsubjects: " + good + "\n", "exactly one of subject and subjects"},
		"several a line": {"subjects: |-\n  " + good[:8] + "\n  " + good[8:] + "\n", "no list of commitments"},
	} {
		got := refused(t, b, listDoc("c1", c.whose, "2026-01-01", "2027-01-01"), "dept")
		if !strings.Contains(got, c.want) || strings.Contains(got, number) {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, text := range map[string]string{"nothing": "", "a number": "subject: '" + number + "'\n", "an unknown subject": "subject: " + subject1 + "\n"} {
		if got := refused(t, b, "kind: ConsentWithdrawal\ndepartment: dept\n"+text, "dept"); strings.Contains(got, number) {
			t.Errorf("%s: %s", name, got)
		}
	}
	listed := apply(t, b, listDoc("c1", "subjects: "+good+"\n", "2026-01-01", "2027-01-01"), "dept")
	refused(t, listed, "kind: ConsentWithdrawal\nconsent: c1\ndepartment: other\nsubject: "+wholeSubject(keyNumber(1))+"\n", "other")
}

func FuzzSplitSubjects(f *testing.F) {
	f.Add(JoinSubjects([]SubjectKey{keyNumber(1), keyNumber(2)}))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if keys, err := splitSubjects(s); err == nil && JoinSubjects(keys) != s {
			t.Errorf("%d keys do not write what they were read from", len(keys))
		}
	})
}

func tryAt(t *testing.T, b *Book, text string, at time.Time, parties ...string) (*Book, error) {
	t.Helper()
	next, _, err := b.Apply(signed(t, text, parties...), at)
	return next, err
}

func TestAmongFindsWhatASearchFinds(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 7, 8, 9, 100, 257} {
		var keys []SubjectKey
		for i := range n {
			// Halves that are equal, and bytes on either side of the sign.
			keys = append(keys, SubjectKey{byte(i / 7 * 3), 7: byte(i % 2), 8: byte(i * 91), 15: byte(i)})
		}
		slices.SortFunc(keys, compareSubjects)
		keys = slices.Compact(keys)
		for a := range 256 {
			for _, b := range []byte{0, 1} {
				key := SubjectKey{byte(a), 7: b, 8: byte(a * 91), 15: byte(a)}
				_, want := slices.BinarySearchFunc(keys, key, compareSubjects)
				if got := among(keys, key); got != want {
					t.Fatalf("%d keys, %x: %v, want %v", n, key, got, want)
				}
			}
		}
		for _, key := range keys {
			if !among(keys, key) {
				t.Fatalf("%d keys: %x is not found", n, key)
			}
		}
	}
}
