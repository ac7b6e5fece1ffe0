package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
)

func explain(op, dataset, sql string) *sandgatev1.ExplainJobRequest {
	return &sandgatev1.ExplainJobRequest{Query: attack.Query(op, dataset, sql, 0)}
}

// quiet waits until everything durable is published, so that a copy of the home
// is one that a machine could have left behind.
func quiet(t testing.TB, a *attack.Arena) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if a.Domain.PublishedSize() == a.Domain.LogSize() {
			return
		}
	}
	t.Fatal("the ledger does not catch up")
}

// 64 different queries at once when seven and a little can still be paid.
func TestAttack14_BudgetRaceAtTheLastNano(t *testing.T) {
	a := attack.SharedInside(t)
	a.Add(t, people("measure", 50, ""))
	one := price(t, a, "measure")
	const fit = 7
	limit := fit*one + one - 1
	a.Add(t, people("race", 2000, `budget: {operator_year: "`+rho(limit)+`", dataset_year: "`+rho(limit)+`"}`))
	const n = 64
	outcome := map[string]int{}
	released := int64(0)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			r, err := a.Run(attack.Op(i%4), "race", fmt.Sprintf("SELECT COUNT(*) AS n FROM race WHERE age <> %d", i), 0)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				code, reason := wellFormed(t, "race", err)
				if code != codes.ResourceExhausted {
					t.Errorf("code %v", code)
				}
				outcome[reason]++
				return
			}
			outcome["released"]++
			released += r.GetPriceNanoRho()
		})
	}
	wg.Wait()
	spent, _ := a.Spent(t, attack.Op(0), "race", "dataset_year")
	life, _ := a.Spent(t, attack.Op(0), "race", "lifetime")
	attack.Record(t, attack.Score{Attack: "14 budget race, 64 at the last nano-ρ", Figure: fmt.Sprintf("%d released, %d of %d nano-ρ", outcome["released"], spent, limit), Bound: fmt.Sprintf("%d released, ≤ %d", fit, limit),
		Control: fmt.Sprintf("%d asked", n*one), Trials: n,
		Pass: outcome["released"] == fit && outcome["BUDGET_EXHAUSTED"] == n-fit && spent <= limit && spent == released && life == spent})
	// What is spent stays spent: the next one, and a cheaper one, fit or do not.
	if _, err := a.Run(attack.Op(5), "race", "SELECT COUNT(*) AS n FROM race WHERE age <> 100", 0); attack.Reason(err) != "BUDGET_EXHAUSTED" {
		t.Errorf("after the race: %v", err)
	}
}

// A machine that dies between reserving and releasing leaves the price debited; a
// retry with the same request id gets a release and is not charged again.
func TestAttack14_CrashBetweenReserveAndRelease(t *testing.T) {
	a := attack.SharedInside(t)
	// The budget holds exactly this query: a retry that asked for it again would
	// find nothing left.
	a.Add(t, people("crash", 500, `budget: {query: "0.00088", operator_year: "0.00088"}`))
	op := a.Client(attack.Op(0))
	free := a.Domain.HoldSeats()
	req := attack.Request(attack.Op(0), "crash", "SELECT COUNT(*) AS n FROM crash WHERE age < 40", 0)
	running, err := op.Operator.SubmitJob(t.Context(), req)
	if err != nil {
		free()
		t.Fatal(err)
	}
	if running.GetDone() {
		t.Error("the job is done though nothing could run")
	}
	quiet(t, a)
	b := a.Crash(t, gateway.Options{})
	free()
	after := b.Client(attack.Op(0))
	spent, _ := b.Spent(t, attack.Op(0), "crash", "operator_year")
	if spent == 0 {
		t.Error("the crash refunded the price")
	}
	job := strings.TrimPrefix(running.GetName(), "operations/")
	_, err = after.Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: "jobs/" + job})
	if _, reason := wellFormed(t, "orphan", err); reason != "OUTCOME_UNKNOWN" {
		t.Errorf("orphan: %v", err)
	}
	if _, err := b.Run(attack.Op(0), "crash", "SELECT COUNT(*) AS n FROM crash WHERE age < 41", 0); attack.Reason(err) != "BUDGET_EXHAUSTED" {
		t.Errorf("another query after the crash: %v", err)
	}
	r, err := after.Run(t.Context(), req)
	if err != nil {
		t.Fatalf("retry after the crash: %v", err)
	}
	again, err := after.Run(t.Context(), req)
	if err != nil || again.GetDigest() != r.GetDigest() {
		t.Errorf("second retry: %v, digest %q, want %q", err, again.GetDigest(), r.GetDigest())
	}
	now, limit := b.Spent(t, attack.Op(0), "crash", "operator_year")
	attack.Record(t, attack.Score{Attack: "14 crash between reserve and release", Figure: fmt.Sprintf("%d nano-ρ, then %d", spent, now), Bound: fmt.Sprintf("one charge, ≤ %d", limit),
		Control: "another query is refused", Pass: now == spent && spent > 0 && now <= limit && r.GetName() == "jobs/"+job+"/releases/1", Trials: 1})
}

// A job whose licence is revoked while it runs releases nothing (R06).
func TestAttack14_R06RevokedWhileRunning(t *testing.T) {
	a := attack.SharedInside(t)
	a.Add(t, people("revoke", 500, ""))
	free := a.Domain.HoldSeats()
	req := attack.Request(attack.Op(0), "revoke", "SELECT COUNT(*) AS n FROM revoke", 0)
	other := attack.Request(attack.Op(1), "revoke", "SELECT COUNT(*) AS n FROM revoke WHERE age > 3", 0)
	op, err := a.Client(attack.Op(0)).Operator.SubmitJob(t.Context(), req)
	if err != nil {
		free()
		t.Fatal(err)
	}
	keep, err := a.Client(attack.Op(1)).Operator.SubmitJob(t.Context(), other)
	if err != nil {
		free()
		t.Fatal(err)
	}
	_, err = a.Apply(attack.Regulator, "kind: Revocation\nlicence: "+attack.LicenceID(attack.Op(0), "revoke")+"\nby: "+attack.Regulator+"\nreason: {zh: 测试}\n", attack.Regulator)
	free()
	if err != nil {
		t.Fatal(err)
	}
	wait := func(p, name string) *longrunningpb.Operation {
		t.Helper()
		op, err := a.Client(p).Operations.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{Name: name, Timeout: durationpb.New(20 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		return op
	}
	got := wait(attack.Op(0), op.GetName())
	if got.GetError() == nil || codes.Code(got.GetError().GetCode()) != codes.PermissionDenied || len(got.GetError().GetDetails()) < 2 {
		t.Errorf("the job of a revoked licence ended as %v", got)
	}
	job := strings.TrimPrefix(op.GetName(), "operations/")
	_, err = a.Client(attack.Op(0)).Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: "jobs/" + job})
	if _, reason := wellFormed(t, "revoked", err); reason != "LICENCE_ENDED" {
		t.Errorf("release of a revoked licence: %v", err)
	}
	_, err = os.Stat(filepath.Join(a.Home.Releases(), job+".json"))
	spent, _ := a.Spent(t, attack.Op(1), "revoke", "lifetime")
	control := wait(attack.Op(1), keep.GetName())
	if control.GetResponse() == nil {
		t.Errorf("control: the other licence's job ended as %v", control)
	}
	attack.Record(t, attack.Score{Attack: "R06 licence revoked while a job runs", Figure: got.GetError().GetMessage(), Bound: "nothing released", Control: "another licence's job is released",
		Pass: got.GetResponse() == nil && os.IsNotExist(err) && spent > 0, Trials: 1})
	if _, err := a.Run(attack.Op(0), "revoke", "SELECT COUNT(*) AS n FROM revoke", 0); attack.Reason(err) != "LICENCE_REVOKED" {
		t.Errorf("a repeat under a revoked licence: %v", err)
	}
}

// A clock set back revives no licence and no year's budget.
func TestAttack14_ClockRollback(t *testing.T) {
	a := attack.SharedInside(t)
	a.Add(t, people("clocked", 200, `budget: {query: "0.00088", operator_year: "0.00088"}`))
	short := people("short", 200, "")
	short.NotAfter = time.Now().Add(24 * time.Hour)
	a.Add(t, short)
	quiet(t, a)
	b := a.Crash(t, gateway.Options{})
	run := func(dataset, where string) string {
		t.Helper()
		_, err := b.Run(attack.Op(0), dataset, "SELECT COUNT(*) AS n FROM "+dataset+" WHERE "+where, 0)
		if err == nil {
			return "released"
		}
		_, reason := wellFormed(t, where, err)
		return reason
	}
	steps := []struct {
		ahead          time.Duration
		dataset, where string
		want           string
	}{
		{0, "short", "age < 1", "released"},
		{48 * time.Hour, "short", "age < 2", "LICENCE_EXPIRED"},
		{0, "short", "age < 3", "LICENCE_EXPIRED"},
		{-400 * 24 * time.Hour, "short", "age < 1", "LICENCE_EXPIRED"},
		{48 * time.Hour, "clocked", "age < 4", "released"},
		{48 * time.Hour, "clocked", "age < 5", "BUDGET_EXHAUSTED"},
		{366 * 24 * time.Hour, "clocked", "age < 6", "released"}, // a new year, honestly reached
		{366 * 24 * time.Hour, "clocked", "age < 7", "BUDGET_EXHAUSTED"},
		{0, "clocked", "age < 8", "BUDGET_EXHAUSTED"},
		{-366 * 24 * time.Hour, "clocked", "age < 9", "BUDGET_EXHAUSTED"},
	}
	through := 0
	for i, s := range steps {
		b.Wind(s.ahead)
		if got := run(s.dataset, s.where); got != s.want {
			through++
			t.Errorf("step %d: %s, want %s", i, got, s.want)
		}
	}
	last := int64(0)
	for _, e := range b.Entries(t) {
		var x struct {
			At int64 `json:"at"`
		}
		if err := json.Unmarshal(e.GetJson(), &x); err != nil {
			t.Fatal(err)
		}
		if x.At < last {
			t.Errorf("entry %d is dated before the one it follows", e.GetSeq())
		}
		last = x.At
	}
	attack.Record(t, attack.Score{Attack: "14 clock rollback", Figure: through, Bound: 0, Control: "released while in force", Pass: through == 0, Trials: len(steps)})
}

// A tampered release file is not answered, a tampered ledger is not served.
func TestAttack14_TamperedReleaseAndLedger(t *testing.T) {
	a := attack.SharedInside(t)
	a.Add(t, people("tamper", 500, ""))
	r := a.MustRun(t, attack.Op(0), "tamper", "SELECT COUNT(*) AS n FROM tamper", 0)
	quiet(t, a)
	b := a.Crash(t, gateway.Options{})
	name := strings.TrimSuffix(r.GetName(), "/releases/1")
	get := func() error {
		_, err := b.Client(attack.Op(0)).Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: name})
		return err
	}
	if err := get(); err != nil {
		t.Fatalf("control: the untouched release: %v", err)
	}
	path := filepath.Join(b.Home.Releases(), r.GetDigest()+".json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		err := get()
		if err == nil {
			accepted++
			continue
		}
		if code, reason := wellFormed(t, "tampered release", err); code != codes.DataLoss || reason != "RELEASE_DAMAGED" {
			t.Fatalf("tampered release: %v", err)
		}
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	quiet(t, b)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(gateway.Options{}); err != nil {
		t.Fatalf("control: the untouched ledger: %v", err)
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	served, flips := 0, 0
	for _, file := range ledgerFiles(t, b.Home.Ledger()) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(text)
		bad[len(bad)/2] ^= 0x20
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		flips++
		if err := b.Start(gateway.Options{}); err == nil {
			served++
			t.Errorf("the gateway serves with a tampered %s", filepath.Base(file))
			if err := b.Stop(); err != nil {
				t.Error(err)
			}
		}
		b.Domain = nil
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	attack.Record(t, attack.Score{Attack: "14 tampered release, tampered ledger", Figure: fmt.Sprintf("%d and %d accepted", accepted, served), Bound: 0, Control: "untouched ones are served", Pass: accepted == 0 && served == 0, Trials: len(text) + flips})
}

// ledgerFiles are the files that hold the ledger's entries: the write-ahead file.
func ledgerFiles(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > 4096 && filepath.Dir(path) == dir {
			out = append(out, path)
		}
		return err
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("no ledger file in %s: %v", dir, err)
	}
	return out
}

// One request id is one job, whatever is sent with it; validate_only is nothing.
func TestAttack14_RequestIDAndValidateOnly(t *testing.T) {
	a := attack.SharedInside(t)
	a.Add(t, people("idem", 500, ""))
	op := a.Client(attack.Op(0))
	req := attack.Request(attack.Op(0), "idem", "SELECT COUNT(*) AS n FROM idem", 0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	digests := map[string]bool{}
	for range 8 {
		wg.Go(func() {
			r, err := op.Run(context.Background(), req)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			digests[r.GetDigest()] = true
		})
	}
	wg.Wait()
	one, _ := a.Spent(t, attack.Op(0), "idem", "operator_year")
	if len(digests) != 1 {
		t.Errorf("one request id gave %d answers", len(digests))
	}
	changed := attack.Request(attack.Op(0), "idem", "SELECT COUNT(*) AS n FROM idem WHERE age < 3", 0)
	changed.RequestId = req.GetRequestId()
	_, err := op.Run(t.Context(), changed)
	if code, reason := wellFormed(t, "reuse", err); code != codes.AlreadyExists || reason != "REQUEST_ID_REUSED" {
		t.Errorf("reuse: %v", err)
	}
	// The same id of another operator is another job.
	theirs := attack.Request(attack.Op(1), "idem", "SELECT COUNT(*) AS n FROM idem WHERE age < 4", 0)
	theirs.RequestId = req.GetRequestId()
	if _, err := a.Client(attack.Op(1)).Run(t.Context(), theirs); err != nil {
		t.Errorf("another operator's same id: %v", err)
	}
	before := a.Domain.LogSize()
	for i, sql := range []string{"SELECT COUNT(*) AS n FROM idem WHERE age < 5", "SELECT * FROM idem", "SELECT COUNT(*) AS n FROM idem"} {
		dry := attack.Request(attack.Op(0), "idem", sql, 0)
		dry.ValidateOnly = true
		res, err := op.Operator.SubmitJob(t.Context(), dry)
		if err != nil {
			t.Fatal(err)
		}
		x := &sandgatev1.ExplainJobResponse{}
		if err := res.GetResponse().UnmarshalTo(x); err != nil || x.GetAllowed() != (i != 1) || x.GetRepeat() != (i == 2) {
			t.Errorf("validate_only of %q: %v %v", sql, x, err)
		}
		if _, err := op.Operator.ExplainJob(t.Context(), explain(attack.Op(0), "idem", sql)); err != nil {
			t.Error(err)
		}
	}
	if after := a.Domain.LogSize(); after != before {
		t.Errorf("validate_only and explain recorded %d entries", after-before)
	}
	if now, _ := a.Spent(t, attack.Op(0), "idem", "operator_year"); now != one {
		t.Errorf("charged %d after %d", now, one)
	}
	attack.Record(t, attack.Score{Attack: "14 one request id, 8 at once; validate_only", Figure: len(digests), Bound: 1, Control: "another operator's same id is a job of its own", Pass: len(digests) == 1 && !t.Failed(), Trials: 17})
}

// Rules that changed after the ingest stop every query, cached answers too.
func TestAttack14_StaleSnapshot(t *testing.T) {
	a := attack.SharedInside(t)
	x := people("stale", 300, "")
	a.Add(t, x)
	const sql = "SELECT COUNT(*) AS n FROM stale"
	a.MustRun(t, attack.Op(0), "stale", sql, 0)
	a.Must(t, x.Catalogue(), attack.Department) // the same again: nothing changed
	a.MustRun(t, attack.Op(0), "stale", sql, 0)
	catalogue, _, _ := strings.Cut(x.Catalogue(), "---\n")
	a.Must(t, catalogue, attack.Department)
	_, err := a.Run(attack.Op(0), "stale", sql, 0)
	if code, reason := wellFormed(t, "no rules", err); code != codes.FailedPrecondition || reason != "DATASET_NOT_READY" {
		t.Errorf("catalogue without rules: %v", err)
	}
	changed := strings.Replace(x.Catalogue(), "{id: {op: drop}}", "{id: {op: drop}, district: {op: constant, value: a}}", 1)
	a.Must(t, changed, attack.Department)
	_, err = a.Run(attack.Op(0), "stale", sql, 0)
	code, reason := wellFormed(t, "stale", err)
	a.Ingest(t, "stale", x.CSV)
	if r, err := a.Run(attack.Op(0), "stale", sql, 0); err != nil || r.GetRepeatOf() != "" {
		t.Errorf("after the new ingest: %v, repeat of %q", err, r.GetRepeatOf())
	}
	attack.Record(t, attack.Score{Attack: "14 query on a stale snapshot", Figure: reason, Bound: "SNAPSHOT_STALE", Control: "released before and after", Pass: code == codes.FailedPrecondition && reason == "SNAPSHOT_STALE", Trials: 1})
}

// Where the department asks for it, an answer is not seen before its entry is
// published, on whatever way it is asked for.
func TestAttack14_WaitPublished(t *testing.T) {
	a := attack.SharedInside(t)
	a.Add(t, people("waits", 300, "wait: published"))
	early, asked := 0, 0
	seen := func(r *sandgatev1.Release) {
		t.Helper()
		asked++
		if a.Domain.PublishedSize() <= r.GetReceipt().GetSeq() {
			early++
			t.Errorf("answer at entry %d, published are %d", r.GetReceipt().GetSeq(), a.Domain.PublishedSize())
		}
	}
	op := a.Client(attack.Op(0))
	for i := range 4 {
		seen(a.MustRun(t, attack.Op(0), "waits", fmt.Sprintf("SELECT COUNT(*) AS n FROM waits WHERE age < %d", 10+i), 0))
	}
	for i := range 4 {
		res, err := op.Operator.SubmitJob(t.Context(), attack.Request(attack.Op(0), "waits", fmt.Sprintf("SELECT COUNT(*) AS n FROM waits WHERE age < %d", 20+i), 0))
		if err != nil {
			t.Fatal(err)
		}
		for {
			r, err := op.Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: "jobs/" + strings.TrimPrefix(res.GetName(), "operations/")})
			if err == nil {
				seen(r)
				break
			}
			if attack.Reason(err) != "OUTCOME_UNKNOWN" {
				t.Fatal(err)
			}
		}
		// A repeat is an entry of its own, and waits for it.
		seen(a.MustRun(t, attack.Op(1), "waits", fmt.Sprintf("SELECT COUNT(*) AS n FROM waits WHERE age < %d", 20+i), 0))
	}
	attack.Record(t, attack.Score{Attack: "14 answers before publication", Figure: early, Bound: 0, Control: "none", Pass: early == 0, Trials: asked})
}

// The gateway shows signs of life, and counts its releases in them.
func TestAttack14_Heartbeat(t *testing.T) {
	a := attack.SharedInside(t)
	a.Add(t, people("beats", 100, ""))
	a.MustRun(t, attack.Op(0), "beats", "SELECT COUNT(*) AS n FROM beats", 0)
	quiet(t, a)
	b := a.Crash(t, gateway.Options{Heartbeat: 100 * time.Millisecond})
	time.Sleep(600 * time.Millisecond)
	released, beats := 0, 0
	for _, e := range b.Entries(t) {
		var x struct {
			Kind      string `json:"kind"`
			Heartbeat *struct {
				Released int `json:"released"`
			} `json:"heartbeat"`
		}
		if err := json.Unmarshal(e.GetJson(), &x); err != nil {
			t.Fatal(err)
		}
		switch {
		case x.Kind == "job.released":
			released++
		case x.Heartbeat != nil:
			beats++
			if x.Heartbeat.Released != released {
				t.Errorf("a heartbeat counts %d releases of %d", x.Heartbeat.Released, released)
			}
		}
	}
	if beats < 2 || released == 0 {
		t.Errorf("%d heartbeats, %d releases", beats, released)
	}
}
