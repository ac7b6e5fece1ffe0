package attack

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
)

// try is one submission and what its operator was told of it.
type try struct {
	operator, dataset string
	req               *sandgatev1.SubmitJobRequest
	rel               *sandgatev1.Release // acknowledged; nil for none
	final             string              // reason of a refusal or failure that is final; "" for none
	cut               int                 // how often the gateway died before it told
}

func (x *try) settled() bool { return x.rel != nil || x.final != "" }

func (x *try) job() string { return state.JobID(x.operator, x.req.GetRequestId()) }

// books holds a ledger against what operators were told.
type books struct {
	tries  []*try
	price  int64            // of every query
	limits map[string]int64 // of data sets
	exact  map[string]bool  // data sets in exact mode, whose queries have another price
}

// account is what the books say was spent of each data set, and what is wrong.
func (b books) account(entries []*entry.Entry) (spent map[string]int64, wrong []string) {
	spent = map[string]int64{}
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	known := map[string]*try{}
	for _, x := range b.tries {
		known[x.job()] = x
	}
	reserved, refused := map[string]bool{}, map[string]bool{}
	released, failed := map[string]string{}, map[string]string{}
	for i, e := range entries {
		if e.Seq != uint64(i) {
			say("entry %d calls itself %d", i, e.Seq)
		}
		switch {
		case e.Reserved != nil:
			job := e.Reserved.Request.Job
			x := known[job]
			if x == nil {
				say("a reservation that nobody asked for")
				continue
			}
			if reserved[job] || refused[job] {
				say("a job is decided twice")
			}
			reserved[job] = true
			if int64(e.Reserved.Price) != b.price && !b.exact[x.dataset] {
				say("reserved at %d nano-ρ, asked at %d", e.Reserved.Price, b.price)
			}
			for _, c := range e.Reserved.Charges {
				if c.Amount != e.Reserved.Price && !b.exact[x.dataset] {
					say("a scope is charged %d of %d nano-ρ", c.Amount, e.Reserved.Price)
				}
			}
			spent[x.dataset] += int64(e.Reserved.Price)
		case e.Refused != nil:
			job := e.Refused.Request.Job
			if reserved[job] || refused[job] {
				say("a job is decided twice")
			}
			refused[job] = true
		case e.Released != nil:
			job := e.Released.Job
			if !reserved[job] || released[job] != "" || failed[job] != "" {
				say("a release without a reservation that is open")
			}
			released[job] = e.Released.Digest
		case e.Failed != nil:
			job := e.Failed.Job
			if !reserved[job] || released[job] != "" || failed[job] != "" {
				say("a failure without a reservation that is open")
			}
			failed[job] = e.Failed.Code
		}
	}
	told := map[string]int64{}
	for _, x := range b.tries {
		job := x.job()
		switch {
		case x.rel != nil:
			told[x.dataset] += x.rel.GetPriceNanoRho()
			if released[job] != x.rel.GetDigest() {
				say("an acknowledged release is not in the ledger")
			}
		case x.final == "EXECUTION_FAILED" && failed[job] != x.final, x.final != "" && x.final != "EXECUTION_FAILED" && !refused[job]:
			say("the operator was told %s, the ledger does not know", x.final)
		}
	}
	for dataset, n := range told {
		if n > spent[dataset] {
			say("%s: releases for %d nano-ρ were acknowledged, the ledger holds %d", dataset, n, spent[dataset])
		}
	}
	for dataset, n := range spent {
		if limit := b.limits[dataset]; n > limit {
			say("%s: %d nano-ρ are spent, the limit is %d", dataset, n, limit)
		}
	}
	return spent, wrong
}

// decoded are entries as the product reads them.
func decoded(t testing.TB, list []*sandgatev1.LedgerEntry) (out []*entry.Entry) {
	t.Helper()
	for _, le := range list {
		e, err := entry.Decode(le.GetJson())
		if err != nil {
			t.Fatalf("entry %d: %v", le.GetSeq(), err)
		}
		out = append(out, e)
	}
	return out
}

// inspector is the regulator with the program's own command line, the keys he
// pinned and the receipts that operators hold.
type inspector struct {
	a        *Arena
	dir      string
	receipts []string // files
	last     string   // checkpoint of the copy before
	copies   int
}

func newInspector(t testing.TB, a *Arena) *inspector {
	t.Helper()
	in := &inspector{a: a, dir: t.TempDir()}
	_, logKey, err := gateway.LogVerifier(a.Home.Config.Origin, a.Keys.Log)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := json.Marshal(audit.Trust{Origin: a.Home.Config.Origin, Regulator: Regulator, RegulatorKey: a.Home.Config.RegulatorKey, LogKey: logKey,
		ReceiptKey: home.PublicKey(ed25519.NewKeyFromSeed(a.Keys.Receipt).Public().(ed25519.PublicKey))})
	if err == nil {
		err = os.WriteFile(filepath.Join(in.dir, "trust.json"), trust, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// keep files the receipt that came with a release.
func (in *inspector) keep(t testing.TB, r *sandgatev1.Release) {
	t.Helper()
	path := filepath.Join(in.dir, fmt.Sprintf("receipt%d", len(in.receipts)))
	if err := os.WriteFile(path, r.GetReceipt().GetJson(), 0o600); err != nil {
		t.Fatal(err)
	}
	in.receipts = append(in.receipts, path)
}

// copied has the command line copy the ledger of the running gateway.
func (in *inspector) copied(t testing.TB) string {
	t.Helper()
	in.copies++
	dir := filepath.Join(in.dir, fmt.Sprintf("copy%d", in.copies))
	if out, err := exec.Command(Binary(), "ledger", "copy", "--out", dir, "--kit", in.a.KitDir(Regulator), "--server", in.a.Addr).CombinedOutput(); err != nil {
		t.Fatalf("failed to copy the ledger: %v: %s", err, out)
	}
	return dir
}

// audited has the command line audit a copy, with every receipt and the
// checkpoint that was seen before; it returns the codes of what is wrong.
func (in *inspector) audited(t testing.TB, dir string) (wrong []string) {
	t.Helper()
	args := []string{"audit", "-o", "json", "--ledger", dir, "--trust", filepath.Join(in.dir, "trust.json")}
	for _, r := range in.receipts {
		args = append(args, "--receipt", r)
	}
	if in.last != "" {
		args = append(args, "--checkpoint", in.last)
	}
	cmd := exec.Command(Binary(), args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 4) {
		t.Fatalf("the audit could not be carried out: %v: %s", err, said.String())
	}
	var report audit.Report
	if jerr := json.Unmarshal(out.Bytes(), &report); jerr != nil {
		t.Fatalf("the audit's report: %v: %s", jerr, out.String())
	}
	if report.OK != (err == nil) {
		t.Errorf("the audit says %v and ends with %v", report.OK, err)
	}
	for _, f := range report.Findings {
		if f.Fatal {
			wrong = append(wrong, f.Code)
		}
	}
	if report.OK != (len(wrong) == 0) || report.OK && report.Receipts != len(in.receipts) {
		t.Errorf("the audit says %v with %v and %d of %d receipts", report.OK, wrong, report.Receipts, len(in.receipts))
	}
	return wrong
}

// anything is a ledger's machine that agrees with everything: whoever holds the
// keys can have any history signed.
type anything struct{}

func (anything) Apply(uint64, []byte) error { return nil }

// forged writes entries as a ledger of their own, numbered anew and signed with
// the gateway's own keys, as an insider could.
func (in *inspector) forged(t testing.TB, entries []*entry.Entry) string {
	t.Helper()
	in.copies++
	dir := filepath.Join(in.dir, fmt.Sprintf("forged%d", in.copies))
	signer, _, err := ledger.NewSignerFromSeed(in.a.Home.Config.Origin, in.a.Keys.Log)
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), ledger.Config{Dir: dir, GuardDir: dir + "-guard", Origin: in.a.Home.Config.Origin, Signer: signer,
		ReceiptKey: ed25519.NewKeyFromSeed(in.a.Keys.Receipt)}, anything{})
	if err != nil {
		t.Fatal(err)
	}
	var texts [][]byte
	for i, e := range entries {
		again := *e
		again.Seq = uint64(i)
		text, err := entry.Encode(&again)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	for part := range slices.Chunk(texts, ledger.MaxEntriesPerCommand) {
		if _, err := log.Do(t.Context(), func() ([][]byte, error) { return part, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := log.WaitPublished(t.Context(), uint64(len(texts)-1)); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cut removes a text from every file of a copied ledger that holds it.
func cut(t testing.TB, dir, text string) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(raw, []byte(text)) {
			return err
		}
		files++
		return os.WriteFile(path, bytes.Replace(raw, []byte(text), nil, 1), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// strays are release files on disk that no entry speaks of, and releases of the
// ledger that are not on disk.
func strays(t testing.TB, a *Arena, entries []*entry.Entry) (out []string) {
	t.Helper()
	want := map[string]bool{}
	for _, e := range entries {
		if e.Released != nil {
			want[e.Released.Digest+".json"] = true
		}
	}
	files, err := os.ReadDir(a.Home.Releases())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".post.json") {
			continue
		}
		if !want[f.Name()] {
			out = append(out, "a release without an entry is on disk")
		}
		delete(want, f.Name())
	}
	for range want {
		out = append(out, "a release of the ledger is not on disk")
	}
	return out
}
