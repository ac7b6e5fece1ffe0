// Package gateway is the edge: it wires the pure rooms together and gives them a
// clock, a disk, a network and processes. Everything an outsider can reach is
// here, and nothing imports it.
package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc/health"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/compute/model/encrypted"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/gateway/alert"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/gateway/home/vault"
	"github.com/sandgate/sandgate/internal/bilingual"
	"github.com/sandgate/sandgate/internal/memory"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/accesslog"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/statefile"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// Options of a domain. The zero value serves.
type Options struct {
	// Tier of worker isolation; empty is sandbox.TierFull.
	Tier sandbox.Tier
	// Now is the clock; nil is time.Now. Time never runs backwards in the ledger
	// whatever it says.
	Now func() time.Time
	// Logger receives codes and names only; nil discards.
	Logger *slog.Logger
	// Executable that workers run; empty is this program.
	Executable string
	// Wall limits one execution; 0 is 60 s. A failure is seen on its tick: the
	// first not before Wall and a sixteenth.
	Wall time.Duration
	// Memory of one worker in bytes; 0 is 2 GiB.
	Memory int64
	// SnapshotMemory is the most bytes that decrypted snapshots and running
	// ingests may occupy together; 0 is half of what is available at start.
	SnapshotMemory int64
	// LargeSnapshots is a directory on an encrypted volume for snapshots that do
	// not fit into SnapshotMemory; empty refuses them. LargeSnapshotsEncryptedBy
	// declares an encryption that the host cannot show.
	LargeSnapshots, LargeSnapshotsEncryptedBy string
	// AccessMonths is how long raw access logs are kept; 0 is accesslog.DefaultMonths.
	AccessMonths int
	// Alerts are the thresholds and the receivers of alerts; nil delivers none.
	Alerts *alert.Config
	// Heartbeat is the interval of heartbeat entries; 0 is 5 minutes.
	Heartbeat time.Duration
	// Jobs is how many executions run at once, each in up to Memory; 0 is 4. A
	// seat is held until the tick of its job.
	Jobs int
	// JobsPerOperator is how many of them may be one operator's; 0 is half of
	// Jobs, at least one.
	JobsPerOperator int
	// Queue is how many more executions may wait, a quarter of them one
	// operator's; 0 is 256. What comes on top is refused and not charged.
	Queue int
	// Tick is the first instant after an execution's start at which its outcome
	// can be seen; the others are at twice, four times … that. 0 is DefaultTick,
	// a negative one turns ticks off: the time an answer takes then depends on
	// the data.
	Tick time.Duration
	// StateEvery is after how many entries a state snapshot is made, from which the next
	// start replays only the rest; 0 is statefile.DefaultEvery, a negative one makes none.
	StateEvery int
	// Vault keeps the master key of snapshots; nil is the home's keyring.
	Vault *vault.Config
	// Recovery is the regulator's confirmation of a home that was restored from a
	// backup; see policies.Recovery.
	Recovery []byte
	// WitnessAt overrides, by the name in a witness's key, where the witness policy
	// says that it listens.
	WitnessAt map[string]string
	// fault lets tests end a destruction half way.
	fault func(string) error
}

// Domain is one city's running sandbox without its network face: policy in,
// files in, releases out. All methods are safe for concurrent use.
type Domain struct {
	home   *home.Home
	keys   *home.Keys
	opt    Options
	log    *ledger.Log
	state  *state.State // touched only inside log.Do and log.View
	pool   *sandbox.Pool
	store  *engine.Store
	cells  cellStores
	runner *engine.Runner
	access *accesslog.Log
	post   *engine.PostRunner
	ckks   *encrypted.Scheme

	modelKeys sync.Mutex // keys of models are made, wrapped anew and erased one at a time

	// twins finds the published twin of a data set, as a party may have it, and its
	// digest.
	twins     func(ctx context.Context, party, dataset string) (*twin.Twin, string, error)
	rehearsed rehearsals

	health  *health.Server
	derived derivedAnswers
	turns   postTurns

	// Operators' texts and the gate's own statements are read by different
	// sessions, so that no text keeps the gate waiting.
	parsers *sandbox.Sessions
	gates   *sandbox.Sessions
	// storage is how snapshots are kept and opened, as the ledger names it.
	storage string

	rotating sync.Mutex
	keyMu    sync.Mutex // guards the next, and the storage keys in keys
	wraps    sealed.Wrapper
	service  home.KeyService   // nil: the keyring wraps
	issued   map[string]string // by party, the public key of the authority it was last seen under

	// auto:
	alerts *alert.Dispatcher // nil delivers none

	// hub:
	aggregator *aggregator

	// opened is how the ledger was opened.
	opened *statefile.Opened

	// tls is what new connections are served with; nil until Serve.
	tls atomic.Pointer[tls.Config]

	mu sync.Mutex
	// kept counts the jobs that hold or have committed the stored release of a digest:
	// two that drew the same numbers share one file.
	kept    map[string]int
	running map[string]*run // by job, until its seat is free
	// model:
	uploading map[string]bool                 // operators that bring a module
	scoring   map[string]bool                 // operators that have encrypted rows scored
	progress  map[string]engine.ModelProgress // of the models that run
	leaving   map[string]bool                 // data sets being destroyed
	jobs      sync.WaitGroup
	stop      context.CancelFunc
	ctx       context.Context
}

// maxIngests bounds concurrent ingests, which have seats of their own: a long one
// holds up no job.
const maxIngests = 8

// Sessions of analysers, and what one request may take of them. The parse of an
// operator's text takes milliseconds; what takes a second of processor time is meant to.
// The wall clock is for a machine that gives the analyser none.
const (
	parserSessions = 2
	gateSessions   = 2
	parseCPU       = time.Second
	gateCPU        = 5 * time.Second
	analyserWall   = 30 * time.Second
	analyserMemory = 512 << 20
)

// warmWorkers is how many engine workers stand ready.
const warmWorkers = 2

// OpenDomain opens a home and brings its ledger, workers and stores up. It
// refuses to start without its keys, with a ledger that does not replay, or
// without the isolation layers of the tier.
func OpenDomain(ctx context.Context, h *home.Home, opt Options) (*Domain, error) {
	if err := opt.defaults(); err != nil {
		return nil, err
	}
	// Workers come first: no key has been read when they are started, so there
	// is none to inherit.
	pool, err := sandbox.NewPool(ctx, sandbox.Config{
		Executable: opt.Executable, Tier: opt.Tier, Warm: map[string]int{engine.ExecuteHandler: warmWorkers, engine.PostHandler: warmPosts},
		Limits: sandbox.Limits{Memory: opt.Memory},
		Jobs:   opt.Jobs, PerOwner: opt.JobsPerOperator, Queue: opt.Queue, QueuePerOwner: max(1, opt.Queue/4),
		Beside: map[string]int{engine.IngestHandler: maxIngests, engine.PostHandler: postSeats, engine.ModelHandler: modelSeats, engine.ScoreHandler: scoreSeats},
	})
	if err != nil {
		return nil, fmt.Errorf("failed to prove worker isolation: %w", err)
	}
	d := &Domain{home: h, opt: opt, pool: pool, state: state.New(), storage: "aes-256-gcm", running: map[string]*run{}, progress: map[string]engine.ModelProgress{}, kept: map[string]int{}, leaving: map[string]bool{}, uploading: map[string]bool{}, scoring: map[string]bool{}, health: newHealth()}
	d.twins, d.rehearsed.drawing = d.publishedTwin, make(chan struct{}, 1)
	d.ctx, d.stop = context.WithCancel(context.Background())
	if d.ckks, err = encrypted.New(); err != nil {
		return nil, errors.Join(err, d.abandon())
	}
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(err, d.abandon())
	}
	if err := errors.Join(d.sweepCells(), d.sweepModels(), d.openAlerts(), d.openHub(ctx)); err != nil {
		return nil, errors.Join(err, d.log.Close(), d.abandon())
	}
	d.tellOfMissingModels()
	if swapping() {
		opt.Logger.Warn("swap is in use: memory that holds decrypted snapshots can reach a disk; turn swap off, encrypt it or set MemorySwapMax=0")
	}
	d.jobs.Go(d.beat)
	d.jobs.Go(d.watch)
	d.jobs.Go(d.remind)
	d.jobs.Go(d.watchWitnesses)
	d.jobs.Go(d.warn)
	d.jobs.Go(d.keepState)
	d.sweepReleases()
	d.jobs.Go(d.resumeModels)
	d.jobs.Go(d.resumeTwins)
	d.jobs.Go(d.resumeRelations)
	return d, nil
}

// abandon lets go of workers and snapshots: at the end, and of what a failed
// start had opened.
func (d *Domain) abandon() error {
	d.stop()
	var errs []error
	for _, s := range []*sandbox.Sessions{d.parsers, d.gates} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	errs = append(errs, d.rehearsed.close())
	if d.service != nil {
		errs = append(errs, d.service.Close())
	}
	if d.access != nil {
		errs = append(errs, d.access.Close())
	}
	return errors.Join(append(errs, d.pool.Close())...)
}

// open opens keys, stores, the analyser and the ledger.
func (d *Domain) open(ctx context.Context) (err error) {
	if d.keys, err = d.home.Unlock(); err != nil {
		return err
	}
	if err := d.openKeys(ctx); err != nil {
		return err
	}
	if d.access, err = accesslog.Open(d.home.Access(), d.opt.AccessMonths); err != nil {
		return err
	}
	opt := engine.StoreOptions{Key: d.oldest(), Keys: d.wrapper(), Memory: d.opt.SnapshotMemory, Confined: d.confined}
	if d.opt.LargeSnapshots != "" {
		if opt.Volume, err = engine.OpenVolume(d.opt.LargeSnapshots, d.opt.LargeSnapshotsEncryptedBy); err != nil {
			return err
		}
		d.storage += "+memory+volume:" + opt.Volume.Kind()
	}
	if d.store, err = engine.OpenStore(d.home.Snapshots(), opt); err != nil {
		return fmt.Errorf("failed to open snapshots: %w", err)
	}
	d.runner, d.post = &engine.Runner{Pool: d.pool}, &engine.PostRunner{Pool: d.pool}
	if d.parsers, err = d.pool.Sessions(ctx, engine.AnalyseHandler, parserSessions, sandbox.Limits{Wall: analyserWall, CPU: parseCPU, Memory: analyserMemory}); err != nil {
		return fmt.Errorf("failed to start the analyser: %w", err)
	}
	if d.gates, err = d.pool.Sessions(ctx, engine.AnalyseHandler, gateSessions, sandbox.Limits{Wall: analyserWall, CPU: gateCPU, Memory: analyserMemory}); err != nil {
		return fmt.Errorf("failed to start the gate: %w", err)
	}
	if d.opt.Tick < 0 {
		d.opt.Logger.Warn("ticks are off: how long an answer takes depends on the data")
	}
	if err := d.openLedger(ctx); err != nil {
		return err
	}
	// A damaged certificate stops the start, not the serving that was announced.
	if err := errors.Join(d.finishDestructions(ctx), d.finishRotation(ctx), d.finishKeys(ctx), d.renewTLS()); err != nil {
		return errors.Join(err, d.log.Close())
	}
	d.pruneSnapshots()
	return nil
}

func (o *Options) defaults() error {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Wall == 0 {
		o.Wall = time.Minute
	}
	if o.Memory == 0 {
		o.Memory = 2 << 30
	}
	if o.Jobs == 0 {
		o.Jobs = 4
	}
	if o.JobsPerOperator == 0 {
		o.JobsPerOperator = max(1, o.Jobs/2)
	}
	if o.Queue == 0 {
		o.Queue = 256
	}
	if o.Tick == 0 {
		o.Tick = DefaultTick
	}
	if o.AccessMonths == 0 {
		o.AccessMonths = accesslog.DefaultMonths
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 5 * time.Minute
	}
	if o.StateEvery == 0 {
		o.StateEvery = statefile.DefaultEvery
	}
	if o.Tier == "" {
		o.Tier = sandbox.TierFull
	}
	if o.SnapshotMemory == 0 {
		available, err := memory.Available()
		if err != nil {
			return fmt.Errorf("failed to choose the memory for snapshots, name it with --snapshot-memory: %w", err)
		}
		o.SnapshotMemory = available / 2
	}
	return nil
}

// LogVerifier returns the verifier of a home's checkpoints.
func LogVerifier(origin string, seed []byte) (note.Verifier, string, error) {
	_, v, err := ledger.NewSignerFromSeed(origin, seed)
	if err != nil {
		return nil, "", err
	}
	key, err := ledger.VerifierKey(origin, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	return v, key, err
}

// Layers names the isolation layers that were proved at start.
func (d *Domain) Layers() []string { return d.pool.Layers() }

// begin writes genesis into an empty ledger, checks it in an existing one, and
// records the start.
func (d *Domain) begin(ctx context.Context) error {
	_, logKey, err := LogVerifier(d.home.Config.Origin, d.keys.Log)
	if err != nil {
		return err
	}
	want := entry.Genesis{
		Origin: d.home.Config.Origin, Regulator: d.home.Config.Regulator, RegulatorKey: d.home.Config.RegulatorKey,
		LogKey: logKey, ReceiptKey: home.PublicKey(ed25519.NewKeyFromSeed(d.keys.Receipt).Public().(ed25519.PublicKey)),
	}
	var have *entry.Genesis
	d.log.View(func() { have = d.state.Genesis() })
	if have == nil {
		if err := d.unused(); err != nil {
			return err
		}
		_, err = d.append(ctx, func(e *entry.Entry) error {
			e.Kind, e.Actor, e.Genesis = entry.KindGenesis, "gateway", &want
			return nil
		})
	} else if have.Origin != want.Origin || have.Regulator != want.Regulator || have.RegulatorKey != want.RegulatorKey {
		err = errors.New("the ledger's first entry names other keys than this home: it is not this home's ledger")
	}
	if err != nil {
		return err
	}
	head, err := d.access.Head()
	if err != nil {
		return err
	}
	_, err = d.append(ctx, func(e *entry.Entry) error {
		e.Kind, e.Actor = entry.KindStarted, "gateway"
		e.Started = &entry.Started{Version: Version(), Tier: string(d.pool.Tier()), Layers: d.pool.Layers(), Storage: d.storage, Tick: ticks(d.opt.Tick).String(), Heartbeat: d.opt.Heartbeat.String(), Access: head, Start: d.opened.Start()}
		return nil
	})
	return err
}

// unused refuses to begin a new ledger in a home that was in use: whoever deletes
// ledger and guard together would otherwise start every budget afresh.
func (d *Domain) unused() error {
	for _, dir := range []string{filepath.Join(d.home.Snapshots(), "snapshots"), d.home.Releases()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("failed to look for earlier work: %w", err)
		}
		if len(entries) > 0 {
			return fmt.Errorf("the ledger is empty but %s is not: the ledger was removed; restore it from backup", dir)
		}
	}
	return nil
}

// Version is the program's version: the module's, or the commit it was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return info.Main.Version
}

// append decides and appends one entry. fill runs in the sequencer and may look
// at d.state; At is already set, and never before the last entry: a clock set
// back cannot revive an expired licence or a spent year.
func (d *Domain) append(ctx context.Context, fill func(*entry.Entry) error) (ledger.Receipt, error) {
	receipts, err := d.log.Do(ctx, func() ([][]byte, error) {
		e := entry.Entry{V: entry.Version, Seq: d.state.Size(), At: d.instant().UnixMilli()}
		if err := fill(&e); err != nil {
			return nil, err
		}
		text, err := entry.Encode(&e)
		if err != nil {
			return nil, err
		}
		return [][]byte{text}, nil
	})
	if err != nil {
		return ledger.Receipt{}, err
	}
	return receipts[0], nil
}

// instant is now, or the last entry's time if the clock stands before it. Call
// it in the sequencer only.
func (d *Domain) instant() time.Time {
	now := d.opt.Now().UTC().Truncate(time.Millisecond)
	if last := time.UnixMilli(d.state.At()).UTC(); now.Before(last) {
		return last
	}
	return now
}

func (d *Domain) beat() {
	t := time.NewTicker(d.opt.Heartbeat)
	defer t.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-t.C:
			err := d.beatOnce(d.ctx)
			if err != nil && d.ctx.Err() == nil {
				d.opt.Logger.Error("heartbeat failed")
			}
		}
	}
}

// beatOnce appends a heartbeat.
func (d *Domain) beatOnce(ctx context.Context) error {
	head, err := d.access.Head()
	if err != nil {
		d.opt.Logger.Error("access log failed")
	}
	_, err = d.append(ctx, func(e *entry.Entry) error {
		e.Kind, e.Actor, e.Heartbeat = entry.KindHeartbeat, "gateway", &entry.Beat{Released: d.state.Released(), Access: head}
		return nil
	})
	return err
}

// Authorize says whether a party may take an action.
func (d *Domain) Authorize(party string, act policies.Action, res policies.Resource) error {
	var x *policies.Reason
	d.log.View(func() { x = d.state.Book().Authorize(party, act, res) })
	if x != nil {
		return refusal(*x)
	}
	return nil
}

// maxPolicy keeps a bundle, which is written in base64, inside one ledger entry.
const maxPolicy = 48_000

// ApplyPolicy puts a signed bundle in force.
func (d *Domain) ApplyPolicy(ctx context.Context, actor string, envelope []byte, validateOnly bool) ([]policies.Kind, ledger.Receipt, error) {
	deflated, err := state.Deflate(envelope)
	if err != nil {
		return nil, ledger.Receipt{}, err
	}
	_, payload, err := policies.ParseEnvelope(envelope)
	if err != nil {
		return nil, ledger.Receipt{}, policyRefused(err)
	}
	docs, err := policies.ParseBundle(payload)
	if err != nil {
		return nil, ledger.Receipt{}, policyRefused(err)
	}
	if len(deflated) > maxPolicy {
		return nil, ledger.Receipt{}, refusal(policies.Reason{Code: "POLICY_TOO_LARGE", Rule: "policy", SetBy: "sandgate",
			ZH: fmt.Sprintf("策略文件压缩后有 %d 字节，账本一条记录至多容纳 %d 字节", len(deflated), maxPolicy), EN: fmt.Sprintf("the bundle has %d bytes when compressed; one ledger entry holds %d at most", len(deflated), maxPolicy),
			HintZH: "请拆成几份，分别签名、提交", HintEN: "split it into several bundles, sign and apply each"})
	}
	p := &entry.Policy{Envelope: deflated}
	for _, doc := range docs {
		p.Kinds = append(p.Kinds, doc.Kind)
	}
	var next *policies.Book
	if validateOnly || filesProducts(docs) {
		d.log.View(func() { next, err = d.state.CheckPolicy(p, actor, d.opt.Now()) })
		if err = policyRefused(err); err == nil {
			err = d.checkFiled(ctx, actor, docs, next)
		}
		if validateOnly || err != nil {
			return p.Kinds, ledger.Receipt{}, err
		}
	}
	receipt, err := d.enforce(ctx, actor, p)
	if err == nil {
		d.store.Evacuate()
	}
	return p.Kinds, receipt, err
}

// policyRefused turns the text of a policy check, which names documents and
// never data, into a refusal.
func policyRefused(err error) error {
	if err == nil {
		return nil
	}
	var reason *policies.Reason
	if errors.As(err, &reason) {
		return refusal(*reason)
	}
	return refusal(policies.Reason{Code: "POLICY_REFUSED", Rule: "policy", SetBy: "sandgate",
		ZH: "策略文件未生效：" + bilingual.Chinese(err), EN: "the policy was not put in force: " + err.Error(),
		HintZH: "修改后重新签名并提交；整份文件要么全部生效，要么全部不生效", HintEN: "correct, sign and apply it again; a bundle takes effect as a whole or not at all"})
}

// Close stops taking work, waits for running executions to end and closes the
// ledger.
func (d *Domain) Close(ctx context.Context) error {
	d.stop()
	d.jobs.Wait()
	// A last heartbeat vouches for the lines of the access log since the one before.
	if d.stateDue(true) {
		d.recordState(ctx)
	}
	roundErr := errors.Join(d.endRounds(ctx, hubRestarted), d.missPasses(ctx))
	beatErr := d.beatOnce(ctx)
	_, err := d.append(ctx, func(e *entry.Entry) error { e.Kind, e.Actor = entry.KindStopped, "gateway"; return nil })
	return errors.Join(roundErr, beatErr, err, d.log.Close(), d.abandon())
}
