// Package attack is the operators' side of disclosure control: it drives a whole
// gateway through its gRPC API, as a hostile operator would, and keeps score. It
// is imported by tests only.
package attack

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// Parties of an arena. Ghost has a certificate and stands in no registry.
const (
	Regulator  = "bureau"
	Department = "dept"
	Other      = "dept2" // a second department, which owns nothing
	Ghost      = "ghost"
	Operators  = 6 // op0 … op5
	Purpose    = "planning"
)

// Op names operator i.
func Op(i int) string { return fmt.Sprintf("op%d", i) }

// Arena is a gateway with its parties: real ledger, real jailed workers, mutual
// TLS on loopback, and the real program when Binary names it. Its methods fail the
// test they are given.
type Arena struct {
	Dir  string
	Home *home.Home
	Keys *home.Keys
	// Domain is the gateway inside this process; nil when the real program serves.
	Domain *gateway.Domain
	Addr   string
	Logs   *Logs

	inside bool // never the real program
	proc   *process
	skew   atomic.Int64 // nanoseconds the gateway's clock is ahead
	stood  atomic.Int64 // Unix nanoseconds it showed when it was last set back: the ledger's time stands there until then
	sign   map[string]ed25519.PrivateKey
	// registry is the one in force since the arena was made.
	registry string
	mu       sync.Mutex
	clients  map[string]*client.Client
	stop     context.CancelFunc
	served   chan error
}

// Logs gathers what the gateway logs.
type Logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is everything logged so far.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// New makes a home in dir, serves it, and puts a registry in force.
func New(dir string, opt gateway.Options) (*Arena, error) { return create(dir, opt, false) }

// NewInside is New with the gateway inside this process, for tests that reach
// into it: its Domain is there, and Wind moves its clock.
func NewInside(dir string, opt gateway.Options) (*Arena, error) { return create(dir, opt, true) }

func create(dir string, opt gateway.Options, inside bool) (*Arena, error) {
	a := &Arena{Dir: dir, Logs: &Logs{}, inside: inside, sign: map[string]ed25519.PrivateKey{}, clients: map[string]*client.Client{}}
	_, root, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	a.Home, err = home.Create(filepath.Join(dir, "home"), home.Config{
		Version: 1, Origin: "sandgate.test/arena", Regulator: Regulator, Hosts: []string{"127.0.0.1"},
		RegulatorKey: home.PublicKey(root.Public().(ed25519.PublicKey)),
	}, time.Now())
	if err != nil {
		return nil, err
	}
	if a.Keys, err = a.Home.Unlock(); err != nil {
		return nil, err
	}
	a.sign[Regulator] = root
	if err := a.Start(opt); err != nil {
		return nil, err
	}
	if err := a.enrol(); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	return a, nil
}

// Start serves the arena's home. Options that the command line does not have are
// served inside this process.
func (a *Arena) Start(opt gateway.Options) error {
	if !a.inside && Binary() != "" && external(opt) {
		return a.launch(opt)
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.NewJSONHandler(a.Logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if opt.Now == nil {
		opt.Now = func() time.Time { return time.Now().Add(time.Duration(a.skew.Load())) }
	}
	if opt.Memory == 0 {
		opt.Memory = 512 << 20
	}
	if opt.Tick == 0 {
		opt.Tick = 5 * time.Millisecond // a default one would slow every test
	}
	var err error
	if a.Domain, err = gateway.OpenDomain(context.Background(), a.Home, opt); err != nil {
		return err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, a.Domain.Close(context.Background()))
	}
	a.Addr = lis.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	a.stop, a.served = cancel, make(chan error, 1)
	go func(d *gateway.Domain, done chan<- error) { done <- gateway.Serve(ctx, d, lis) }(a.Domain, a.served)
	return nil
}

// hangUp closes the parties' connections; the next call dials anew.
func (a *Arena) hangUp() (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, c := range a.clients {
		err = errors.Join(err, c.Close())
		delete(a.clients, p)
	}
	return err
}

// Stop ends the gateway in order; the home can be started again.
func (a *Arena) Stop() error {
	err := a.hangUp()
	if a.proc != nil {
		err = errors.Join(err, a.proc.end())
		a.proc = nil
		return err
	}
	a.stop()
	err = errors.Join(err, <-a.served)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = errors.Join(err, a.Domain.Close(ctx))
	a.Domain = nil
	return err
}

// Running reports whether the gateway is being served.
func (a *Arena) Running() bool { return a.Domain != nil || a.proc != nil }

// Wind sets how far the gateway's clock stands ahead of the machine's; the real
// program has a clock that nobody sets.
func (a *Arena) Wind(d time.Duration) {
	if was := a.skew.Swap(int64(d)); int64(d) < was {
		a.stood.Store(max(a.stood.Load(), time.Now().UnixNano()+was))
	}
}

// Clock is the parties' clock, which goes with the ledger's: that stands still where it
// was until a clock that was set back has caught up.
func (a *Arena) Clock() time.Time {
	now := time.Now().Add(time.Duration(a.skew.Load()))
	if stood := time.Unix(0, a.stood.Load()); now.Before(stood) {
		return stood
	}
	return now
}

func (a *Arena) parties() []string {
	out := []string{Department, Other}
	for i := range Operators {
		out = append(out, Op(i))
	}
	return out
}

func (a *Arena) enrol() error {
	role := func(p string) policies.Role {
		switch p {
		case Regulator:
			return policies.RoleRegulator
		case Department, Other:
			return policies.RoleDepartment
		}
		return policies.RoleOperator
	}
	text := "kind: Registry\nparties:\n"
	for _, p := range append([]string{Regulator, Ghost}, a.parties()...) {
		if _, ok := a.sign[p]; !ok {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			a.sign[p] = key
		}
		if _, err := a.Home.NewKitWithKey(a.Keys, a.KitDir(p), p, a.Addr, a.sign[p], time.Now()); err != nil {
			return err
		}
		if p != Ghost {
			text += fmt.Sprintf("  - {id: %s, role: %s, title: {zh: %s}, key: %q}\n", p, role(p), p, home.PublicKey(a.sign[p].Public().(ed25519.PublicKey)))
		}
	}
	text += fmt.Sprintf("purposes:\n  - {id: %s, title: {zh: 规划}, fee: governance}\n  - {id: other, title: {zh: 其他}, fee: industry}\n", Purpose)
	a.registry = text
	_, err := a.Apply(Regulator, text, Regulator)
	return err
}

// KitDir is where a party's kit stands.
func (a *Arena) KitDir(party string) string { return filepath.Join(a.Dir, "kits", party) }

// Client is a party's connection.
func (a *Arena) Client(party string) *client.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.clients[party]; ok {
		return c
	}
	kit, err := home.OpenKit(a.KitDir(party))
	if err != nil {
		panic(fmt.Sprintf("attack: kit of %s: %v", party, err))
	}
	c, err := client.Dial(kit, a.Addr, func(s *client.Signer) { s.Now = a.Clock })
	if err != nil {
		panic(fmt.Sprintf("attack: dial as %s: %v", party, err))
	}
	a.clients[party] = c
	return c
}

// Sign makes an envelope over a bundle.
func (a *Arena) Sign(text string, signers ...string) ([]byte, error) {
	var env *dsse.Envelope
	var err error
	for _, p := range signers {
		if env, err = policies.Sign(env, []byte(text), p, a.sign[p]); err != nil {
			return nil, err
		}
	}
	return json.Marshal(env)
}

// Apply signs a bundle and applies it as a party.
func (a *Arena) Apply(as, text string, signers ...string) (*sandgatev1.ApplyPolicyResponse, error) {
	raw, err := a.Sign(text, signers...)
	if err != nil {
		return nil, err
	}
	return a.Client(as).Policy.ApplyPolicy(context.Background(), &sandgatev1.ApplyPolicyRequest{Envelope: raw})
}

// Must applies a bundle or fails the test.
func (a *Arena) Must(t testing.TB, text string, signers ...string) {
	t.Helper()
	if _, err := a.Apply(signers[0], text, signers...); err != nil {
		t.Fatal(err)
	}
}

// Request is a submission under the operator's licence on a data set.
func Request(operator, dataset, sql string, price int64) *sandgatev1.SubmitJobRequest {
	return &sandgatev1.SubmitJobRequest{RequestId: uuid.NewString(), Query: Query(operator, dataset, sql, price)}
}

// Query is Request's query.
func Query(operator, dataset, sql string, price int64) *sandgatev1.QuerySpec {
	return &sandgatev1.QuerySpec{Licence: LicenceID(operator, dataset), Purpose: Purpose, Sql: sql, PriceNanoRho: price}
}

// Run submits a query and waits for its release.
func (a *Arena) Run(operator, dataset, sql string, price int64) (*sandgatev1.Release, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return a.Client(operator).Run(ctx, Request(operator, dataset, sql, price))
}

// MustRun is Run, or the end of the test.
func (a *Arena) MustRun(t testing.TB, operator, dataset, sql string, price int64) *sandgatev1.Release {
	t.Helper()
	r, err := a.Run(operator, dataset, sql, price)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return r
}

// Spent is what a scope of a data set has spent, nano-ρ.
func (a *Arena) Spent(t testing.TB, operator, dataset, scope string) (spent, limit int64) {
	t.Helper()
	resp, err := a.Client(operator).Operator.ListBudgets(context.Background(), &sandgatev1.ListBudgetsRequest{Licence: LicenceID(operator, dataset)})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range resp.GetBudgets() {
		if b.GetDataset() == dataset && b.GetScope() == scope {
			return b.GetSpentNanoRho(), b.GetLimitNanoRho()
		}
	}
	t.Fatalf("no budget scope %s of %s", scope, dataset)
	return 0, 0
}

// Entries is the number of ledger entries.
func (a *Arena) Entries(t testing.TB) []*sandgatev1.LedgerEntry {
	t.Helper()
	var out []*sandgatev1.LedgerEntry
	req := &sandgatev1.ListEntriesRequest{PageSize: 1000}
	for {
		resp, err := a.Client(Regulator).Regulator.ListEntries(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, resp.GetEntries()...)
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return out
		}
	}
}

// Reason is the machine-readable code of a refusal, "" for none.
func Reason(err error) string {
	if p := client.ProblemOf(err); p != nil {
		return p.Reason
	}
	return ""
}

// Main runs a package's tests: workers first, and arenas closed after.
func Main(m *testing.M) {
	sandbox.Main()
	Faulty()
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, "failed to close the arena:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Crash copies the home as it stands on disk, as after a power failure, and
// serves the copy in an arena of its own; the parties keep their kits. The first
// arena goes on in a world of its own.
func (a *Arena) Crash(t testing.TB, opt gateway.Options) *Arena {
	t.Helper()
	dir := t.TempDir()
	// A power failure stops everything at once, a copy does not: what the guard has
	// signed may be older than the log, as after a stop between the two, never newer.
	guard, err := filepath.Rel(a.Home.Dir, a.Home.Guard())
	if err != nil {
		t.Fatal(err)
	}
	taken := func() ([]byte, error) {
		for _, from := range []string{guard, "."} {
			to := filepath.Join(dir, "home", filepath.Dir(filepath.Join(from, "x")))
			if err := os.MkdirAll(to, 0o700); err != nil {
				return nil, err
			}
			// -n: what was copied first stays.
			if out, err := exec.Command("cp", "-a", "-n", filepath.Join(a.Home.Dir, from)+"/.", to).CombinedOutput(); err != nil {
				return out, err
			}
		}
		return nil, nil
	}
	out, err := taken()
	// The gateway goes on and replaces files while they are copied.
	for range 9 {
		if err == nil {
			break
		}
		if rerr := os.RemoveAll(filepath.Join(dir, "home")); rerr != nil {
			t.Fatal(rerr)
		}
		out, err = taken()
	}
	if err != nil {
		t.Fatalf("failed to copy the home: %v: %s", err, out)
	}
	b := &Arena{Dir: a.Dir, Keys: a.Keys, Logs: &Logs{}, inside: a.inside, sign: a.sign, clients: map[string]*client.Client{}}
	b.stood.Store(a.Clock().UnixNano())
	if b.Home, err = home.Open(filepath.Join(dir, "home")); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !b.Running() {
			return
		}
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}
