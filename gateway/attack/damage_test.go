package attack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
)

// What becomes of a damaged file of a home.
const (
	atStart = "the start is refused"       // and names it
	inUse   = "what needs it is refused"   // and nothing else
	byAudit = "the audit fails"            // and names it; the gateway does not need it
	mended  = "made good from other files" // by replay
	idle    = "means nothing"              // a lock, a blank, a tile that a longer one replaced, a pointer that the ledger overrules, a line under no heartbeat yet
)

// kinds of files of a home: which, what may become of a flipped byte and of a cut
// end, and the words of a refusal. docs/faults.md shows the table.
var fileKinds = []struct {
	path    string
	flipped []string
	cut     []string
	said    string
}{
	{"config.json", []string{atStart, idle}, []string{atStart, idle}, `config.json|not this home|another log|certificate|health`},
	{"unlock.key", []string{atStart, idle}, []string{atStart, idle}, `unlock`},
	{"keyring.age", []string{atStart}, []string{atStart}, `keyring`},
	{"ca.pem", []string{atStart, idle}, []string{atStart, idle}, `ca.pem|certificate`},
	{"server.pem", []string{atStart, idle, mended}, []string{atStart, idle, mended}, `server.pem|certificate`},
	{"ledger/wal.log", []string{atStart}, []string{atStart}, `write-ahead file`},
	{"ledger/checkpoint", []string{atStart, mended, byAudit}, []string{atStart, mended, byAudit}, `checkpoint`},
	{"ledger/.state/*.lock", []string{idle}, []string{idle}, ``},
	// A root that is not the tiles' is refused when it is about to be signed, or written over
	// with the right one when an entry is integrated before that.
	{"ledger/.state/*", []string{atStart, mended}, []string{atStart}, `\.state`},
	{"ledger/tile/entries/*/*", []string{byAudit, mended, idle}, []string{byAudit, mended, idle}, `tile`},
	{"ledger/tile/*/*/*", []string{atStart, byAudit, mended, idle}, []string{atStart, byAudit, mended, idle}, `tile`},
	{"guard/last-checkpoint", []string{atStart}, []string{atStart}, `guard file|signed`},
	{"guard/lock", []string{idle}, []string{idle}, ``},
	{"snapshots/lock", []string{idle}, []string{idle}, ``},
	{"snapshots/current/*", []string{idle, mended}, []string{idle, mended}, `snapshot|EXECUTION_FAILED|NO_SNAPSHOT`},
	{"snapshots/snapshots/*/data.sealed", []string{inUse}, []string{inUse}, `EXECUTION_FAILED`},
	{"snapshots/snapshots/*/manifest.sealed", []string{inUse}, []string{inUse}, `EXECUTION_FAILED|SNAPSHOT`},
	{"snapshots/snapshots/*/key.json", []string{inUse}, []string{inUse}, `EXECUTION_FAILED|SNAPSHOT`},
	{"releases/*.post.json", []string{inUse}, []string{inUse}, `RELEASE_DAMAGED`},
	{"releases/*.json", []string{inUse}, []string{inUse}, `RELEASE_DAMAGED`},
	{"exact/*.cells", []string{inUse}, []string{inUse}, `EXACT_STORE_DAMAGED`},
	{"exact/*.key", []string{inUse}, []string{inUse}, `EXACT_STORE_DAMAGED`},
	{"access/*.jsonl", []string{atStart, byAudit, mended, idle}, []string{atStart, byAudit, mended, idle}, `access log|ACCESS`},
}

// damaged is a home whose files are damaged, copy by copy.
type damaged struct {
	a       *Arena
	base    string
	jobs    []string // released before
	digests map[string]string
	spent   int64
	trust   string
	receipt string
}

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	x := newFaulted(t)
	if err := x.a.launch(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	d := &damaged{a: x.a, digests: map[string]string{}}
	for _, r := range []*sandgatev1.Release{x.a.MustRun(t, Op(0), "plain", "SELECT age, COUNT(*) AS n FROM plain GROUP BY age", 0), x.a.MustRun(t, Op(0), exactSet(0), "SELECT COUNT(*) AS n FROM exact0", 0)} {
		job, _, _ := strings.Cut(strings.TrimPrefix(r.GetName(), "jobs/"), "/")
		d.jobs = append(d.jobs, job)
		d.digests[job] = r.GetDigest()
		x.in.keep(t, r)
	}
	d.spent, _ = x.a.Spent(t, Op(0), "plain", "lifetime")
	d.trust, d.receipt = filepath.Join(x.in.dir, "trust.json"), x.in.receipts[0]
	if err := x.a.Stop(); err != nil {
		t.Fatal(err)
	}
	d.base = x.a.Home.Dir
	return d
}

// files lists the files of the home by kind.
func (d *damaged) files(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(d.base, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(d.base, path)
		if err != nil {
			return err
		}
		kind := ""
		for _, k := range fileKinds {
			if ok, _ := filepath.Match(k.path, rel); ok {
				kind = k.path
				break
			}
		}
		if kind == "" {
			t.Errorf("file %s is of no kind: say in fileKinds and docs/faults.md what becomes of it when it is damaged", rel)
		}
		// Of snapshots those count that somebody asks about.
		if strings.HasPrefix(rel, "snapshots/snapshots/") && !slices.ContainsFunc([]string{"plain", exactSet(0)}, func(id string) bool {
			text, _ := os.ReadFile(filepath.Join(d.base, "snapshots", "current", id))
			return strings.Contains(rel, string(text))
		}) || strings.HasPrefix(rel, "snapshots/current/") && filepath.Base(rel) != "plain" && filepath.Base(rel) != exactSet(0) {
			return nil
		}
		out[kind] = append(out[kind], rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// outcome starts a copy of the home in which one file was changed, and says what
// became of it, and in which words.
func (d *damaged) outcome(t *testing.T, file string, change func([]byte) []byte) (what, said string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "home")
	if out, err := exec.Command("cp", "-a", d.base, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	name := filepath.Join(dir, file)
	text, err := os.ReadFile(name)
	if err == nil {
		err = errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, change(text), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	b := &Arena{Dir: d.a.Dir, Keys: d.a.Keys, Logs: &Logs{}, sign: d.a.sign, clients: map[string]*client.Client{}, Home: &home.Home{Dir: dir, Config: d.a.Home.Config}}
	if err := b.launch(gateway.Options{Wall: 4 * time.Second}); err != nil {
		said = b.Logs.String()
		if !strings.Contains(err.Error(), "ended before it was ready") || broken.MatchString(said) {
			t.Errorf("%s: %v", file, err)
		}
		return atStart, said
	}
	defer func() {
		if b.Running() {
			_ = b.Kill()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var refused []string
	for _, job := range d.jobs {
		r, err := b.Client(Op(0)).Operator.GetRelease(ctx, &sandgatev1.GetReleaseRequest{Name: "jobs/" + job})
		switch {
		case err != nil:
			refused = append(refused, Reason(err)+" "+err.Error())
		case r.GetDigest() != d.digests[job]:
			t.Errorf("%s: another release is served", file)
		}
	}
	budgets, err := b.Client(Op(0)).Operator.ListBudgets(ctx, &sandgatev1.ListBudgetsRequest{Licence: LicenceID(Op(0), "plain")})
	if err != nil {
		refused = append(refused, err.Error())
	}
	for _, x := range budgets.GetBudgets() {
		if x.GetDataset() == "plain" && x.GetScope() == "lifetime" && x.GetSpentNanoRho() != d.spent {
			t.Errorf("%s: %d nano-ρ are spent, %d were", file, x.GetSpentNanoRho(), d.spent)
		}
	}
	for _, q := range []*sandgatev1.SubmitJobRequest{Request(Op(0), "plain", "SELECT COUNT(*) AS n FROM plain WHERE age < 50", 0), Request(Op(0), exactSet(0), "SELECT COUNT(*) AS n FROM exact0 WHERE age < 50", 0)} {
		if _, err := b.Client(Op(0)).Run(ctx, q); err != nil {
			refused = append(refused, Reason(err)+" "+err.Error())
		}
	}
	if err := b.Stop(); err != nil {
		t.Errorf("%s: the stop: %v", file, err)
	}
	if broken.MatchString(b.Logs.String()) {
		t.Errorf("%s: the gateway breaks: %s", file, b.Logs.String())
	}
	if len(refused) > 0 {
		return inUse, strings.Join(refused, "\n")
	}
	args := []string{"audit", "--lang", "en", "--ledger", b.Home.Ledger(), "--trust", d.trust, "--receipt", d.receipt, "--access", filepath.Join(dir, "access")}
	cmd := exec.Command(Binary(), args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return byAudit, string(out)
	}
	now, err := os.ReadFile(name)
	if err != nil || string(now) != string(change(text)) {
		return mended, ""
	}
	return idle, ""
}

// Every file of a home has a byte flipped and its end cut off. Nothing of it is taken
// in silence: the start is refused, or what needs the file, or the audit, each naming
// what is damaged; or it is made good, or it means nothing.
func TestR29_DamagedFiles(t *testing.T) {
	NeedBinary(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(10, seed))
	d := newDamaged(t)
	files := d.files(t)
	type trial struct {
		kind int
		file string
		flip bool
		at   float64
	}
	var trials []trial
	for i, k := range fileKinds {
		list := files[k.path]
		if len(list) == 0 {
			t.Errorf("no file of kind %s is in the home", k.path)
			continue
		}
		for range Trials(1, 8) {
			for _, flip := range []bool{true, false} {
				trials = append(trials, trial{kind: i, file: list[rng.IntN(len(list))], flip: flip, at: rng.Float64()})
			}
		}
	}
	rng.Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
	var mu sync.Mutex
	next := 0
	t.Run("all", func(t *testing.T) {
		for lane := range 3 {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				for {
					mu.Lock()
					i := next
					next++
					mu.Unlock()
					if i >= len(trials) {
						return
					}
					x := trials[i]
					k := fileKinds[x.kind]
					want, how := k.cut, "cut"
					change := func(text []byte) []byte { return text[:int(x.at*float64(len(text)))] }
					if x.flip {
						want, how = k.flipped, "flipped"
						change = func(text []byte) []byte {
							if len(text) == 0 {
								return []byte{1}
							}
							out := slices.Clone(text)
							out[int(x.at*float64(len(text)))] ^= 0x10
							return out
						}
					}
					got, said := d.outcome(t, x.file, change)
					t.Logf("%s %s at %.3f: %s", x.file, how, x.at, got)
					if !slices.Contains(want, got) {
						t.Errorf("%s %s at %.3f: %s, want %q\n%s", x.file, how, x.at, got, want, said)
					} else if (got == atStart || got == byAudit || got == inUse) && !regexp.MustCompile(k.said).MatchString(said) {
						t.Errorf("%s %s at %.3f: the refusal does not name it (%s):\n%s", x.file, how, x.at, k.said, said)
					}
				}
			})
		}
	})
}
