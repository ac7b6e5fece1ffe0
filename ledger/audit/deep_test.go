package audit

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/ledgertest"
	"github.com/sandgate/sandgate/policies/request"
)

// store writes entries as they are into a log under the made ledgers' keys.
func store(t *testing.T, texts [][]byte) string {
	t.Helper()
	cfg, err := ledgertest.Config(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), cfg, anything{})
	if err != nil {
		t.Fatal(err)
	}
	for len(texts) > 0 {
		part := texts[:min(len(texts), ledger.MaxEntriesPerCommand)]
		texts = texts[len(part):]
		if _, err := l.Do(t.Context(), func() ([][]byte, error) { return part, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.WaitPublished(t.Context(), l.Size()-1); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg.Dir
}

// What runs ahead of the replay changes no verdict: one wrong signature, decision or
// byte deep inside a ledger, long after everything was met often, is named exactly.
func TestR30_OneWrongEntryDeepInsideIsNamed(t *testing.T) {
	var texts [][]byte
	if err := ledgertest.Generate(ledgertest.Options{Entries: 2600}, func(text []byte) error { texts = append(texts, text); return nil }); err != nil {
		t.Fatal(err)
	}
	pinned, err := ledgertest.Trust()
	if err != nil {
		t.Fatal(err)
	}
	at := func(from int, kind entry.Kind) int {
		for i := from; i < len(texts); i++ {
			if bytes.Contains(texts[i], []byte(`"kind":"`+string(kind)+`"`)) && bytes.Contains(texts[i], []byte(`"actor":"alpha"`)) == (kind != entry.KindReleased) {
				return i
			}
		}
		t.Fatalf("no entry of kind %s", kind)
		return 0
	}
	forge := func(n int, change func(e *entry.Entry)) []byte {
		e, err := entry.Decode(texts[n])
		if err != nil {
			t.Fatal(err)
		}
		change(e)
		text, err := entry.Encode(e)
		if err != nil || bytes.Equal(text, texts[n]) {
			t.Fatal(err, "nothing was forged")
		}
		return text
	}
	sign := func(key string) func(e *entry.Entry) {
		return func(e *entry.Entry) {
			s, err := request.Sign(e.Signed.Statement, ledgertest.Key(key))
			if err != nil {
				t.Fatal(err)
			}
			e.Signed = s
		}
	}
	whole := store(t, texts)
	if r := audit(t, whole, Options{Trust: pinned}); !r.OK || r.Entries != uint64(len(texts)) || !r.SecondReader {
		t.Fatalf("the untouched ledger: %+v", r.Findings)
	}
	for name, c := range map[string]struct {
		kind   entry.Kind
		change func(e *entry.Entry)
		want   string
	}{
		"a bit of a signature":         {entry.KindReserved, func(e *entry.Entry) { e.Signed.Sig[9] ^= 4 }, "SIGNATURE_INVALID"},
		"a scalar of a signature":      {entry.KindVerificationReserved, func(e *entry.Entry) { e.Signed.Sig[40] ^= 1 }, "SIGNATURE_INVALID"},
		"another party's signature":    {entry.KindReserved, sign("beta"), "SIGNATURE_INVALID"},
		"a word that was not signed":   {entry.KindRepeated, func(e *entry.Entry) { e.Signed.Statement.NotAfter-- }, "SIGNATURE_INVALID"},
		"a lower price":                {entry.KindReserved, func(e *entry.Entry) { e.Reserved.Price-- }, "reservation differs"},
		"a refusal without its reason": {entry.KindRefused, func(e *entry.Entry) { e.Refused.Reasons[0].Code = "QUOTA_EXHAUSTED" }, "refusal differs"},
		"a release of another job":     {entry.KindReleased, func(e *entry.Entry) { e.Released.Job = "0123456789abcdef0123" }, "no open reservation"},
	} {
		t.Run(name, func(t *testing.T) {
			n := at(1900, c.kind)
			forged := append([][]byte(nil), texts...)
			forged[n] = forge(n, c.change)
			r := audit(t, store(t, forged), Options{Trust: pinned})
			if got := found(r, "REPLAY"); r.OK || !strings.HasPrefix(got, fmt.Sprintf("entry %d ", n)) || !strings.Contains(got, c.want) || r.State.Size() != uint64(n) {
				t.Errorf("entry %d: %+v", n, r.Findings)
			}
		})
	}
	t.Run("a byte of a tile", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		n := at(1900, entry.KindReserved)
		replaceFile(t, filepath.Join(dir, "tile", "entries", fmt.Sprintf("%03d", n/256)), func(data []byte) []byte {
			i := bytes.Index(data, texts[n])
			if i < 0 {
				t.Fatal("the entry is not in its bundle")
			}
			data[i+len(texts[n])-30] ^= 1
			return data
		})
		for name, opt := range map[string]Options{"alone": {Trust: pinned}, "told on": {Trust: pinned, Visit: func(*entry.Entry, []byte) error { return nil }}} {
			r := audit(t, dir, opt)
			if got := found(r, "LOG_DAMAGED"); r.OK || !strings.Contains(got, fmt.Sprintf("entry %d)", n)) {
				t.Errorf("%s, entry %d: %+v", name, n, r.Findings)
			}
			// Nothing that was replayed meanwhile is reported.
			if len(r.Kinds) != 0 || r.State.Size() != 0 || found(r, "REPLAY") != "" {
				t.Errorf("%s: the report tells of entries that are not authentic: %+v", name, r)
			}
		}
	})
}

// A caller's own error ends the audit, wherever it comes; nothing hangs.
func TestTheAuditEndsWhenItsCallerDoes(t *testing.T) {
	w := write(t, whole(t).entries, "log", anything{})
	for _, at := range []uint64{0, 5} {
		_, err := Run(t.Context(), w.dir, Options{Trust: trust(t), Visit: func(e *entry.Entry, _ []byte) error {
			if e.Seq == at {
				return fmt.Errorf("stopped at %s", base64.StdEncoding.EncodeToString([]byte{byte(at)}))
			}
			return nil
		}})
		if err == nil || !strings.HasPrefix(err.Error(), "stopped at ") {
			t.Errorf("%v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := 0
	_, err := Run(ctx, w.dir, Options{Trust: trust(t), Visit: func(*entry.Entry, []byte) error { seen++; cancel(); return nil }})
	if err == nil || seen == 0 {
		t.Errorf("after %d entries: %v", seen, err)
	}
}
