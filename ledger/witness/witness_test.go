package witness

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "sandgate.example/city"

// history is a log in memory, signed by a key.
type history struct {
	stored []tlog.Hash
	size   int64
	signer note.Signer
	keys   note.Verifiers
}

func newHistory(t testing.TB, seed string) *history {
	t.Helper()
	skey, vkey, err := note.GenerateKey(strings.NewReader(strings.Repeat(seed, 64)), origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return &history{signer: signer, keys: note.VerifierList(verifier)}
}

func (h *history) ReadHashes(idx []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(idx))
	for i, x := range idx {
		out[i] = h.stored[x]
	}
	return out, nil
}

// grow appends entries of a story until the log has size of them.
func (h *history) grow(t testing.TB, size int64, story string) {
	t.Helper()
	for ; h.size < size; h.size++ {
		hs, err := tlog.StoredHashes(h.size, []byte(story), h)
		if err != nil {
			t.Fatal(err)
		}
		h.stored = append(h.stored, hs...)
	}
}

func (h *history) tree(t testing.TB, size int64) tlog.Tree {
	t.Helper()
	root, err := tlog.TreeHash(size, h)
	if err != nil {
		t.Fatal(err)
	}
	return tlog.Tree{N: size, Hash: root}
}

func (h *history) sign(t testing.TB, text string) []byte {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, h.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (h *history) checkpoint(t testing.TB, size int64) []byte {
	t.Helper()
	return h.sign(t, torchwood.Checkpoint{Origin: origin, Tree: h.tree(t, size)}.String())
}

func (h *history) head(t testing.TB, size int64) Head {
	t.Helper()
	return Head{Tree: h.tree(t, size), Checkpoint: h.checkpoint(t, size)}
}

func (h *history) request(t testing.TB, old, size int64) Request {
	t.Helper()
	r := Request{Old: old, Checkpoint: h.checkpoint(t, size)}
	if old > 0 && old < size {
		proof, err := tlog.ProveTree(size, old, h)
		if err != nil {
			t.Fatal(err)
		}
		r.Proof = proof
	}
	return r
}

// Every status of C2SP tlog-witness, and what is an alarm.
func TestDecideAsTheC2SPDocumentSays(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 40, "first")
	other := newHistory(t, "a") // the same key, another story from the 11th entry on
	other.grow(t, 10, "first")
	other.grow(t, 40, "second")
	stranger := newHistory(t, "b")
	stranger.grow(t, 40, "first")
	garbled := log.request(t, 20, 30)
	garbled.Proof[0][0] ^= 1
	long := log.request(t, 0, 30)
	long.Proof = tlog.TreeProof{{}}
	longSame := log.request(t, 20, 20)
	longSame.Proof = tlog.TreeProof{{}}
	emptyForged := Request{Checkpoint: log.sign(t, torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{}}.String())}
	for name, c := range map[string]struct {
		head   Head
		req    Request
		status int
		code   Code
		size   bool
		next   int64
	}{
		"first sight":                     {Head{}, log.request(t, 0, 30), 200, CodeCosigned, false, 30},
		"first sight, empty log":          {Head{}, log.request(t, 0, 0), 200, CodeCosigned, false, 0},
		"grown":                           {log.head(t, 20), log.request(t, 20, 30), 200, CodeCosigned, false, 30},
		"the same again":                  {log.head(t, 20), log.request(t, 20, 20), 200, CodeCosigned, false, 20},
		"from the empty log":              {log.head(t, 0), log.request(t, 0, 30), 200, CodeCosigned, false, 30},
		"stranger's key":                  {log.head(t, 20), stranger.request(t, 20, 30), 403, CodeUnknownKey, false, 0},
		"no note":                         {log.head(t, 20), Request{Old: 20, Checkpoint: []byte(origin + "\nx\n")}, 403, CodeUnknownKey, false, 0},
		"signed, but no checkpoint":       {log.head(t, 20), Request{Old: 20, Checkpoint: log.sign(t, origin+"\nminus one\nAA==\n")}, 400, CodeMalformed, false, 0},
		"another log":                     {log.head(t, 20), Request{Old: 20, Checkpoint: log.sign(t, strings.Replace(torchwood.Checkpoint{Origin: origin, Tree: log.tree(t, 30)}.String(), "city", "town", 1))}, 400, CodeMalformed, false, 0},
		"old above the checkpoint":        {log.head(t, 20), log.request(t, 31, 30), 400, CodeOldTooLarge, false, 0},
		"asked from nothing":              {log.head(t, 20), log.request(t, 0, 30), 409, CodeOtherSize, true, 0},
		"asked from too far":              {log.head(t, 20), log.request(t, 25, 30), 409, CodeOtherSize, true, 0},
		"an older one of the log":         {log.head(t, 20), log.request(t, 10, 15), 409, CodeOtherSize, true, 0},
		"same size, other root":           {log.head(t, 20), other.request(t, 20, 20), 409, CodeEquivocation, false, 0},
		"the same, asked from elsewhere":  {log.head(t, 20), other.request(t, 12, 20), 409, CodeEquivocation, true, 0},
		"no extension":                    {log.head(t, 20), other.request(t, 20, 30), 422, CodeInconsistent, false, 0},
		"a proof that does not hold":      {log.head(t, 20), garbled, 422, CodeInconsistent, false, 0},
		"a proof from nothing":            {Head{}, long, 422, CodeBadProof, false, 0},
		"a proof of the same":             {log.head(t, 20), longSame, 422, CodeBadProof, false, 0},
		"an empty log with another root":  {Head{}, emptyForged, 422, CodeInconsistent, false, 0},
		"story that parts after the head": {log.head(t, 10), other.request(t, 10, 30), 200, CodeCosigned, false, 30},
	} {
		v := Decide(origin, log.keys, c.head, c.req)
		if v.Status != c.status || v.Code != c.code || v.TellSize != c.size || v.Next.Tree.N != c.next {
			t.Errorf("%s: %+v", name, v)
		}
		if (v.Status == 200) != (v.Text != "") || v.Status != 200 && v.Next.Checkpoint != nil {
			t.Errorf("%s: cosigns %q", name, v.Text)
		}
	}
	if !CodeEquivocation.Alarm() || !CodeInconsistent.Alarm() || CodeOtherSize.Alarm() || CodeUnknownKey.Alarm() {
		t.Error("the wrong codes are alarms")
	}
}

// What the witness cosigned last stays when the same head comes with other signatures.
func TestTheHeadIsKept(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 20, "x")
	head := log.head(t, 20)
	r := log.request(t, 20, 20)
	r.Checkpoint = append(bytes.Clone(r.Checkpoint), "— other.example "+strings.Repeat("A", 24)+"\n"...)
	if v := Decide(origin, log.keys, head, r); v.Status != 200 || !bytes.Equal(v.Next.Checkpoint, head.Checkpoint) {
		t.Errorf("%+v", v)
	}
}

// The example of the C2SP document parses, and encodes to itself.
func TestParseTheExampleOfTheDocument(t *testing.T) {
	body := "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\njrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n" +
		"5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\n" +
		"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
	r, err := ParseRequest([]byte(body))
	if err != nil || r.Old != 20852014 || len(r.Proof) != 4 || r.Origin() != "example.com/behind-the-sofa" || string(r.Encode()) != body {
		t.Errorf("%+v %v", r, err)
	}
	for name, bad := range map[string]string{
		"empty": "", "no old": strings.Replace(body, "old ", "new ", 1), "leading zero": strings.Replace(body, "old 2", "old 02", 1),
		"negative": strings.Replace(body, "old 2", "old -2", 1), "plus": strings.Replace(body, "old 2", "old +2", 1), "two blanks": strings.Replace(body, "old ", "old  ", 1),
		"short hash": strings.Replace(body, "PlRN", "Pl", 1), "no checkpoint": body[:strings.Index(body, "\n\n")+2], "blank at the end": strings.Replace(body, "kaw=\n", "kaw= \n", 1),
		"carriage return": strings.Replace(body, "\n", "\r\n", 1), "huge old": strings.Replace(body, "old 2", "old 99999999999999999992", 1),
		"too many hashes": strings.Replace(body, "\n\n", "\n"+strings.Repeat("PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n", 60)+"\n", 1),
		"too long":        body + strings.Repeat("x", MaxRequest),
	} {
		if _, err := ParseRequest([]byte(bad)); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func cosigner(t testing.TB, name string, seed byte) *torchwood.CosignatureSigner {
	t.Helper()
	s, err := torchwood.NewCosignatureSigner(name, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// answer is what a witness replies to a checkpoint.
func answer(t testing.TB, s note.Signer, checkpoint []byte) []byte {
	t.Helper()
	text, _, _ := strings.Cut(string(checkpoint), "\n\n")
	signed, err := note.Sign(&note.Note{Text: text + "\n"}, s)
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(signed), "\n\n")
	return []byte(line)
}

func TestPolicyCountsEachWitnessOnce(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 20, "x")
	a, b, c := cosigner(t, "a.example", 1), cosigner(t, "b.example", 2), cosigner(t, "c.example", 3)
	p := Policy{Quorum: 2, Parties: []Party{{Key: a.Verifier()}, {Key: b.Verifier()}}}
	cp := log.checkpoint(t, 20)
	if p.Satisfied(cp) {
		t.Error("nobody cosigned")
	}
	one, ok := Add(cp, answer(t, a, cp), a.Verifier())
	if !ok || p.Satisfied(one) || len(p.Cosigned(one)) != 1 {
		t.Errorf("one of two: %v", p.Cosigned(one))
	}
	if again, ok := Add(one, answer(t, a, cp), a.Verifier()); !ok || len(p.Cosigned(again)) != 1 {
		t.Error("one witness counts twice")
	}
	if _, ok := Add(one, answer(t, c, cp), b.Verifier()); ok {
		t.Error("another's answer is taken for a witness's")
	}
	if _, ok := Add(one, answer(t, b, log.checkpoint(t, 19)), b.Verifier()); ok {
		t.Error("a cosignature on another checkpoint is taken")
	}
	// The log's own key is no witness, and a stranger's cosignature counts for nothing.
	strange, ok := Add(one, answer(t, c, cp), c.Verifier())
	if !ok || p.Satisfied(strange) {
		t.Error("a stranger counts")
	}
	two, ok := Add(strange, answer(t, b, cp), b.Verifier())
	if !ok || !p.Satisfied(two) {
		t.Errorf("two of two: %v", p.Cosigned(two))
	}
	moved := bytes.Replace(two, []byte("\n20\n"), []byte("\n21\n"), 1)
	if p.Satisfied(moved) {
		t.Error("cosignatures hold for another size")
	}
}

func FuzzParseRequest(f *testing.F) {
	log := newHistory(f, "a")
	log.grow(f, 40, "x")
	f.Add(log.request(f, 20, 40).Encode())
	f.Add([]byte("old 0\n\nx\n0\n\n\n— x AAAA\n"))
	head := log.head(f, 20)
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseRequest(body)
		if err != nil {
			return
		}
		if !bytes.Equal(r.Encode(), body) {
			t.Errorf("%q encodes to %q", body, r.Encode())
		}
		v := Decide(origin, log.keys, head, r)
		if v.Status == 200 && (v.Next.Tree.N < 20 || v.Next.Tree.N > 40 || v.Next.Tree != log.tree(t, v.Next.Tree.N)) {
			t.Errorf("cosigns %+v", v)
		}
	})
}
