package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "sandgate.example/city"

func key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32)) }

func pub() ed25519.PublicKey { return key().Public().(ed25519.PublicKey) }

func sample() Receipt { return SignReceipt(key(), origin, 42, tlog.RecordHash([]byte("entry"))) }

func TestReceiptGolden(t *testing.T) {
	want := "sandgate-receipt/v1\nsandgate.example/city\n42\n" + tlog.RecordHash([]byte("entry")).String() + "\n"
	if got := string(sample().SignedText()); got != want {
		t.Errorf("signed text %q, want %q", got, want)
	}
}

func TestReceiptIsBoundToAllItsFields(t *testing.T) {
	for name, change := range map[string]func(*Receipt){
		"origin":    func(r *Receipt) { r.Origin = "sandgate.example/other" },
		"seq":       func(r *Receipt) { r.Seq++ },
		"leaf hash": func(r *Receipt) { r.LeafHash[31] ^= 1 },
		"signature": func(r *Receipt) { r.Signature[0] ^= 1 },
		"short":     func(r *Receipt) { r.Signature = r.Signature[:63] },
		"line":      func(r *Receipt) { r.Origin = origin + "\n42" },
	} {
		r := sample()
		if err := r.Verify(pub()); err != nil {
			t.Fatal(err)
		}
		change(&r)
		if r.Verify(pub()) == nil {
			t.Errorf("%s changed: still valid", name)
		}
	}
	if sample().Verify(nil) == nil {
		t.Error("valid without a key")
	}
}

// batchOf are the receipts of n leaves from first on under one signature.
func batchOf(t testing.TB, first uint64, n int) []Receipt {
	t.Helper()
	leaves := make([]tlog.Hash, n)
	for i := range leaves {
		leaves[i] = tlog.RecordHash([]byte{byte(i), byte(i >> 8)})
	}
	signed, err := SignBatch(key(), origin, first, leaves)
	if err != nil {
		t.Fatal(err)
	}
	receipts := make([]Receipt, n)
	for i := range receipts {
		if receipts[i], err = signed.Receipt(i); err != nil {
			t.Fatal(err)
		}
	}
	return receipts
}

func TestReceiptsOfABatch(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 64, 65, 300} {
		for i, r := range batchOf(t, 1000, n) {
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			back, err := ParseReceipt(text)
			if err != nil || back.Verify(pub()) != nil || back.Seq != 1000+uint64(i) {
				t.Fatalf("receipt %d of %d: %v", i, n, err)
			}
			if (back.Batch == nil) != (n == 1) {
				t.Errorf("receipt %d of %d: batch %v", i, n, back.Batch)
			}
		}
	}
	one := batchOf(t, 42, 1)[0]
	if again := SignReceipt(key(), origin, 42, one.LeafHash); !bytes.Equal(again.Signature, one.Signature) {
		t.Error("a batch of one is signed otherwise than an entry alone")
	}
	r := batchOf(t, 7, 2)[1]
	if want := "sandgate-receipt/v2\nsandgate.example/city\n7\n2\n" + r.Batch.Root.String() + "\n"; string(r.SignedText()) != want {
		t.Errorf("signed text %q, want %q", r.SignedText(), want)
	}
}

// Whatever is changed in a receipt of a batch, it is no receipt any more: not for
// another entry, position or batch, and not with the signature of a receipt of one entry.
func TestReceiptOfABatchIsBoundToAllItsFields(t *testing.T) {
	for name, change := range map[string]func(*Receipt){
		"origin":        func(r *Receipt) { r.Origin = "sandgate.example/other" },
		"seq":           func(r *Receipt) { r.Seq++ },
		"beyond":        func(r *Receipt) { r.Seq = r.Batch.First + r.Batch.Size },
		"before":        func(r *Receipt) { r.Seq = r.Batch.First - 1 },
		"leaf hash":     func(r *Receipt) { r.LeafHash[0] ^= 1 },
		"first":         func(r *Receipt) { r.Batch.First-- },
		"first and seq": func(r *Receipt) { r.Batch.First--; r.Seq-- },
		"size":          func(r *Receipt) { r.Batch.Size++ },
		"huge":          func(r *Receipt) { r.Batch.Size = 1 << 63 },
		"size of one": func(r *Receipt) {
			r.Batch.Size = 1
			r.Batch.First = r.Seq
			r.Batch.Path = nil
			r.Batch.Root = r.LeafHash
		},
		"root":       func(r *Receipt) { r.Batch.Root[0] ^= 1 },
		"path":       func(r *Receipt) { r.Batch.Path[1][0] ^= 1 },
		"short path": func(r *Receipt) { r.Batch.Path = r.Batch.Path[1:] },
		"no batch":   func(r *Receipt) { r.Batch = nil },
		"signature":  func(r *Receipt) { r.Signature = SignReceipt(key(), origin, r.Seq, r.LeafHash).Signature },
		"root as entry": func(r *Receipt) {
			*r = Receipt{Origin: origin, Seq: r.Batch.First, LeafHash: r.Batch.Root, Signature: r.Signature}
		},
		"of another leaf": func(r *Receipt) {
			r.Seq++
			r.LeafHash = batchOf(t, 100, 9)[4].LeafHash
		},
	} {
		r := batchOf(t, 100, 9)[3]
		if err := r.Verify(pub()); err != nil {
			t.Fatal(err)
		}
		change(&r)
		if r.Verify(pub()) == nil {
			t.Errorf("%s changed: still valid", name)
		}
	}
}

func TestParseReceiptIsStrict(t *testing.T) {
	good, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	if r, err := ParseReceipt(good); err != nil || r.Verify(pub()) != nil {
		t.Fatal(err)
	}
	s := string(good)
	for name, bad := range map[string]string{
		"empty": "", "null": "null", "array": "[]", "blank": " " + s, "trailing": s + "\n", "two": s + s,
		"unknown field": strings.Replace(s, `{`, `{"x":1,`, 1), "repeated field": strings.Replace(s, `{`, `{"seq":42,`, 1),
		"case": strings.Replace(s, "seq", "Seq", 1), "negative": strings.Replace(s, "42", "-1", 1),
		"fraction": strings.Replace(s, "42", "42.0", 1), "no origin": strings.Replace(s, origin, "", 1),
		"short signature": s[:len(s)-10] + `"}`, "missing": `{"origin":"x","seq":1}`,
	} {
		if _, err := ParseReceipt([]byte(bad)); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

// proofOf makes a proof of one entry in a tree of size entries.
func proofOf(t testing.TB, size, index int64) (Proof, note.Verifier) {
	t.Helper()
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(idx []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(idx))
		for i, x := range idx {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i := range size {
		hs, err := tlog.StoredHashes(i, []byte{byte(i)}, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hs...)
	}
	root, err := tlog.TreeHash(size, reader)
	if err != nil {
		t.Fatal(err)
	}
	path, err := tlog.ProveRecord(size, index, reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, verifier := noteKey(t)
	signed, err := note.Sign(&note.Note{Text: torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: size, Hash: root}}.String()}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return Proof{Entry: []byte{byte(index)}, Index: uint64(index), Size: uint64(size), Hashes: path, Checkpoint: string(signed)}, verifier
}

func noteKey(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
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
	return signer, verifier
}

func TestProofVerifiesAndIsBound(t *testing.T) {
	for _, size := range []int64{1, 2, 3, 7, 8, 13} {
		for index := range size {
			p, verifier := proofOf(t, size, index)
			if err := p.Verify(verifier); err != nil {
				t.Fatalf("size %d index %d: %v", size, index, err)
			}
			text, err := ParseTLogProof(p.TLogProof(), p.Entry)
			if err != nil || text.Verify(verifier) != nil || text.Size != p.Size {
				t.Fatalf("size %d index %d: text form: %v", size, index, err)
			}
			raw, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := ParseProof(raw); err != nil || again.Verify(verifier) != nil {
				t.Fatalf("size %d index %d: JSON form: %v", size, index, err)
			}
		}
	}
	for name, change := range map[string]func(*Proof){
		"entry":      func(p *Proof) { p.Entry = []byte("other") },
		"index":      func(p *Proof) { p.Index++ },
		"far index":  func(p *Proof) { p.Index = 1 << 63 },
		"size":       func(p *Proof) { p.Size-- },
		"hash":       func(p *Proof) { p.Hashes[0][0] ^= 1 },
		"fewer":      func(p *Proof) { p.Hashes = p.Hashes[1:] },
		"more":       func(p *Proof) { p.Hashes = append(p.Hashes, tlog.Hash{}) },
		"checkpoint": func(p *Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n7\n", "\n8\n", 1) },
	} {
		p, verifier := proofOf(t, 7, 3)
		change(&p)
		if p.Verify(verifier) == nil {
			t.Errorf("%s changed: still valid", name)
		}
	}
}

func TestParseTLogProofIsStrict(t *testing.T) {
	p, _ := proofOf(t, 7, 3)
	s := string(p.TLogProof())
	for name, bad := range map[string]string{
		"empty": "", "version": strings.Replace(s, "@v1", "@v2", 1), "extra": strings.Replace(s, "index", "extra AAAA\nindex", 1),
		"index": strings.Replace(s, "index 3", "index 03", 1), "negative": strings.Replace(s, "index 3", "index -3", 1),
		"no index": strings.Replace(s, "index 3\n", "", 1), "hash": strings.Replace(s, p.Hashes[0].String(), "AAAA", 1),
		"no checkpoint": s[:strings.Index(s, "\n\n")+1], "header only": "c2sp.org/tlog-proof@v1\n\n",
		"endless": strings.Replace(s, "index 3\n", "index 3\n"+strings.Repeat(p.Hashes[0].String()+"\n", 64), 1),
	} {
		if _, err := ParseTLogProof([]byte(bad), nil); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

// FuzzParseReceipt: no panic, and what parses encodes to the very bytes it was read from.
func FuzzParseReceipt(f *testing.F) {
	good, err := json.Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	batch, err := json.Marshal(batchOf(f, 3, 5)[2])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(batch)
	f.Add([]byte(`{"origin":"x","seq":18446744073709551615,"leaf_hash":"","signature":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReceipt(data)
		if err != nil {
			return
		}
		if again, err := json.Marshal(r); err != nil || !bytes.Equal(again, data) {
			t.Errorf("receipt encodes to %q, was %q: %v", again, data, err)
		}
		r.Verify(pub())
	})
}

// FuzzParseTLogProof: no panic, and what parses encodes to the very bytes it was read from.
func FuzzParseTLogProof(f *testing.F) {
	p, verifier := proofOf(f, 7, 3)
	f.Add(p.TLogProof())
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 0\n\nx\n0\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := ParseTLogProof(data, nil)
		if err != nil {
			return
		}
		if !bytes.Equal(q.TLogProof(), data) {
			t.Errorf("proof encodes to %q, was %q", q.TLogProof(), data)
		}
		q.Verify(verifier)
	})
}
