package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/sandbox"
)

// Question is what an operator asks about one subject. Subject and Claim are used
// and forgotten: no log, file or entry holds them.
type Question struct {
	Licence, Purpose, Product string
	Subject                   string // identifier
	Claim                     string
	Signed, Salt              []byte // DSSE envelope over the request, and the salt of its body
}

// verifying is a question on its way: everything of it that a worker needs.
type verifying struct {
	ask    state.VerificationAsk
	of     asked
	signed *request.Signed
	schema algebra.Schema
	check  engine.Check
	token  uint64 // of the subject
	snap   string
	ticket *sandbox.Ticket
	lease  *engine.Lease
}

func (v *verifying) settle() {
	v.lease.Release()
	if v.ticket != nil {
		v.ticket.Close()
	}
}

// verifyWall bounds one look-up: it is one statement over one unit.
const verifyWall = 20 * time.Second

// Verify asks about one subject and returns the verification's id when the ledger
// holds its outcome. What is refused is told apart by the request alone. Everything
// that is let in takes one way, whatever the subject agreed to and whatever is
// stored: a worker looks up a unit, the subject's own or one that nobody is, and the
// answer leaves on a tick counted from the call.
func (d *Domain) Verify(ctx context.Context, operator, requestID string, q Question) (id string, err error) {
	begin := time.Now()
	ran := false
	id, err = d.verify(ctx, operator, requestID, q, begin, &ran)
	if !ran {
		pause(begin.Add(ticks(d.opt.Tick).after(time.Since(begin))), ctx, d.ctx)
	}
	return id, err
}

func (d *Domain) verify(ctx context.Context, operator, requestID string, q Question, begin time.Time, ran *bool) (id string, err error) {
	if err := d.Authorize(operator, policies.ActVerify, policies.Resource{}); err != nil {
		return "", err
	}
	// Limits are counted in the ledger: in one that is disputed they would count anew.
	if d.log.Disputed() != nil {
		return "", disputed()
	}
	if !requestIDPattern.MatchString(requestID) {
		return "", invalid("REQUEST_ID", "request_id 必须是 UUID", "request_id must be a UUID")
	}
	signed, err := d.openRequest(operator, requestID, q.Signed, q.Salt, request.VerificationFields(q.Subject, q.Claim))
	if err != nil {
		return "", err
	}
	id = state.VerificationID(operator, requestID)
	for range 3 {
		var v *verifying
		if v, err = d.question(ctx, operator, requestID, q); err != nil {
			return "", err
		}
		v.signed = signed
		if x := state.SameVerification(signed.Statement, operator, v.ask.Request); x != nil {
			return "", x
		}
		if *ran, err = d.letIn(ctx, id, v, begin); !errors.Is(err, errPolicyMoved) {
			return id, err
		}
	}
	return "", refusal(policies.Reason{Code: "POLICY_CHANGED", Rule: "policy", ZH: "受理期间规则已变更，请重试", EN: "the rules changed meanwhile; try again"})
}

// question reads a request under the policy in force, and turns what must not be
// kept into commitments.
func (d *Domain) question(ctx context.Context, operator, requestID string, q Question) (*verifying, error) {
	v := &verifying{ask: state.VerificationAsk{Operator: operator, Request: entry.VerificationRequest{
		Verification: state.VerificationID(operator, requestID), Request: requestID, Licence: q.Licence, Purpose: q.Purpose, Product: q.Product,
	}}}
	var p policies.Product
	var e policies.Entry
	var found bool
	var schemaErr error
	var epoch, first int
	if err := d.settled(ctx, func() {
		v.ask.At = d.instant()
		// A retry asks what was asked then.
		if known, ok := d.state.Verification(v.ask.Request.Verification); ok {
			v.ask.At = time.UnixMilli(known.At).UTC()
		}
		first = d.state.ConsentEpochOf(v.ask.At)
		b := d.state.Book()
		p, found = b.Product(q.Product)
		if found = found && p.Operator == operator && p.Predicate != nil; !found {
			return
		}
		v.ask.Request.Version = p.Digest()
		if e, found = b.Dataset(p.Predicate.Dataset); found {
			v.schema, schemaErr = e.Schema()
		}
		if snap, ok := d.state.Snapshot(p.Predicate.Dataset); ok {
			v.snap, epoch = snap.Snapshot, snap.Epoch
		}
	}); err != nil {
		return nil, err
	}
	if !found || e.Dataset.Unit == nil || e.Ready() != nil {
		return v, nil // refused by the decision, without a subject
	}
	if schemaErr != nil {
		return nil, schemaErr
	}
	keys, err := d.keysOf(e, epoch)
	if err != nil {
		return nil, err
	}
	kind := e.Dataset.Unit.Kind
	var ok bool
	if v.of, ok = d.askedOf(kind, q.Subject, first); ok {
		v.token, ok = ingest.UnitTokenOf(keys.Unit, string(kind), q.Subject)
	}
	if !ok {
		return nil, invalid("SUBJECT_ID", "标识的格式不对", "the identifier is malformed")
	}
	values, spelled, x := e.PredicateValues(*p.Predicate, q.Claim, v.ask.At, keys.Pseudonym)
	if x != nil {
		return nil, refusal(*x)
	}
	v.check = engine.Check{Op: engine.CheckOp(p.Predicate.Op), Columns: p.Predicate.Columns, Values: values, Spelled: spelled}
	text, err := questionText(v.of.constant, p.Predicate.Dataset, v.check)
	if err != nil {
		return nil, err
	}
	v.ask.Request.Subject, v.ask.Request.Former = v.of.subject, v.of.former
	v.ask.Request.Question = d.questionCommitment(text, v.snap)
	return v, nil
}

// letIn records the decision and runs what was let in. A request id that is known
// has its outcome, or is run again if a crash left it without one. ran says that a
// tick was waited for.
func (d *Domain) letIn(ctx context.Context, id string, v *verifying, begin time.Time) (ran bool, err error) {
	defer v.settle()
	known, err := d.knownVerification(ctx, id, v)
	if err != nil || known {
		return false, err
	}
	owed, needs := false, false
	d.log.View(func() {
		_, owed = d.state.Verification(id)
		needs = owed || d.state.DecideVerification(v.ask).Reserved != nil
	})
	if needs {
		if err := d.holdVerification(ctx, v); err != nil {
			return false, err
		}
	}
	if owed {
		return true, d.answerVerification(ctx, id, v, begin)
	}
	var refused *Refusal
	_, err = d.append(ctx, func(e *entry.Entry) error {
		if _, ok := d.state.Verification(id); ok {
			return errPolicyMoved // another call with this request id came first
		}
		if v.ask.At = e.Time(); v.of.moved(d.state, v.ask.At) {
			return errPolicyMoved
		}
		x := d.state.DecideVerification(v.ask)
		e.Actor, e.Signed = v.ask.Operator, v.signed
		if x.Refused != nil {
			e.Kind, e.VerificationRefused, refused = entry.KindVerificationRefused, x.Refused, &Refusal{Reasons: x.Refused.Reasons}
			return nil
		}
		if v.lease == nil || x.Reserved.Snapshot != v.snap {
			return errPolicyMoved
		}
		p, _ := d.state.Book().Product(v.ask.Request.Product)
		if err := d.isLeaving(p.Predicate.Dataset); err != nil {
			return err
		}
		e.Kind, e.VerificationReserved = entry.KindVerificationReserved, x.Reserved
		return nil
	})
	if err != nil {
		return false, err
	}
	if refused != nil {
		return false, refused
	}
	return true, d.answerVerification(ctx, id, v, begin)
}

// knownVerification says whether a request id has its outcome, and refuses one that
// was used for something else.
func (d *Domain) knownVerification(ctx context.Context, id string, v *verifying) (bool, error) {
	var was state.Verification
	var ok bool
	if err := d.settled(ctx, func() { was, ok = d.state.Verification(id) }); err != nil || !ok {
		return false, err
	}
	same, old := v.ask.Request, was.Request
	same.Version = old.Version
	if same.Question == old.Question { // and so, whatever key names him now, the subject
		same.Subject, same.Former = old.Subject, old.Former
	}
	if same != old {
		return true, invalid("REQUEST_ID_REUSED", "该 request_id 已用于另一请求", "the request_id was used for another request")
	}
	if r := d.runOf(verificationRun(id)); r != nil {
		select {
		case <-r.ended:
		case <-ctx.Done():
			return true, ctx.Err()
		}
		d.log.View(func() { was, _ = d.state.Verification(id) })
	}
	switch was.Phase {
	case state.PhaseRefused:
		return true, &Refusal{Reasons: was.Reasons}
	case state.PhaseReserved:
		if was.Reserved.Snapshot != v.snap {
			return true, d.failVerification(id)
		}
		return false, nil
	}
	return true, nil
}

// verificationRun keeps the executions of verifications from those of jobs.
func verificationRun(id string) string { return "verifications/" + id }

// holdVerification takes a place in the queue and memory for the snapshot, before
// anything is counted.
func (d *Domain) holdVerification(ctx context.Context, v *verifying) error {
	if err := d.pool.Restart(ctx); err != nil {
		d.opt.Logger.Error("workers cannot be started")
		return workersDown()
	}
	var err error
	v.ticket, err = d.pool.Admit(engine.ExecuteHandler, v.ask.Operator)
	switch {
	case errors.Is(err, sandbox.ErrBusy):
		return queueFull()
	case errors.Is(err, sandbox.ErrSpawner):
		return workersDown()
	case err != nil:
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.opt.Wall)
	defer cancel()
	v.lease, err = d.store.Lease(ctx, []string{v.snap})
	return leaseRefused(err)
}

// answerVerification runs what was let in, once, and returns when the ledger holds
// the outcome. A caller that goes away ends nothing.
func (d *Domain) answerVerification(ctx context.Context, id string, v *verifying, begin time.Time) error {
	key := verificationRun(id)
	d.mu.Lock()
	if r, ok := d.running[key]; ok {
		d.mu.Unlock()
		select {
		case <-r.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r := &run{ticket: v.ticket, ended: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	d.running[key] = r
	d.mu.Unlock()
	own := *v
	v.ticket, v.lease = nil, nil // the execution's from here on
	d.jobs.Go(func() {
		defer func() {
			d.mu.Lock()
			delete(d.running, key)
			d.mu.Unlock()
			r.cancel()
			own.settle()
			r.end()
		}()
		if err := d.executeVerification(id, &own, r, begin); err != nil {
			d.opt.Logger.Warn("verification gave no answer", "verification", id)
		}
	})
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Domain) executeVerification(id string, v *verifying, r *run, begin time.Time) error {
	waiting, stop := context.WithCancel(r.ctx)
	defer stop()
	defer context.AfterFunc(d.ctx, stop)()
	if err := v.ticket.Wait(waiting, nil); err != nil {
		return err
	}
	r.seated.Store(true)
	ground := entry.GroundConsent
	d.log.View(func() {
		if g, _, err := d.state.GroundNow(id, d.instant()); err == nil {
			ground = g
		}
	})
	nobody, err := strangersToken()
	if err != nil {
		return err
	}
	token := nobody
	if ground == entry.GroundData {
		token = v.token
	}
	ctx, cancel := context.WithTimeout(sandbox.WithTicket(r.ctx, r.ticket), verifyWall)
	defer cancel()
	bit, err := d.lookUp(ctx, v, token)
	grid := ticks(d.opt.Tick)
	until := grid.after(time.Since(begin))
	if err != nil {
		until = grid.failure(time.Since(begin), verifyWall)
	}
	pause(begin.Add(until), r.ctx, d.ctx)
	if err != nil {
		return errors.Join(err, d.failVerification(id))
	}
	return d.commitVerification(id, ground == entry.GroundData && bit)
}

// strangersToken is a unit that no row has, but by a chance of one in 2^44 for a
// million units: the look-up for whoever is not to be looked up.
func strangersToken() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("failed to draw a token: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]) | 1, nil
}

// lookUp runs the worker; a spawner that died before it started one has read nothing.
func (d *Domain) lookUp(ctx context.Context, v *verifying, token uint64) (bit bool, err error) {
	files, _, err := v.lease.Open()
	if err != nil {
		return false, err
	}
	for range 3 {
		if err := d.pool.Restart(ctx); err != nil {
			return false, fmt.Errorf("failed to replace the worker spawner: %w", err)
		}
		bit, err = d.runner.Verify(ctx, v.schema, token, v.check, files[0], sandbox.Limits{Wall: verifyWall, Memory: d.opt.Memory, Threads: 1})
		if !errors.Is(err, sandbox.ErrSpawner) {
			break
		}
	}
	return bit, err
}

// commitVerification records the answer on the ground it has at that instant: an
// order, or a consent withdrawn meanwhile, comes before it.
func (d *Domain) commitVerification(id string, bit bool) error {
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		ground, stopped, err := d.state.GroundNow(id, e.Time())
		if err != nil {
			return errEnded
		}
		e.Actor = "gateway"
		if stopped != nil {
			e.Kind, e.VerificationFailed = entry.KindVerificationFailed, stopped
			return nil
		}
		// Looked for whatever the ground, so that it takes as long.
		stored, ok := d.storedAnswer(id)
		if ground == entry.GroundStored && !ok {
			return refusal(unreadable)
		}
		confirmed := ground == entry.GroundData && bit || ground == entry.GroundStored && stored
		commitment, _ := entry.Commit(d.commitKey(), entry.AnswerText(id, confirmed))
		e.Kind, e.VerificationAnswered = entry.KindVerificationAnswered, &entry.VerificationAnswered{Verification: id, Ground: ground, Answer: commitment}
		return nil
	})
	return err
}

// storedAnswer is the answer that was given to the same question from data, if any.
// Call it in the sequencer.
func (d *Domain) storedAnswer(id string) (confirmed, ok bool) {
	v, _ := d.state.Verification(id)
	of, known := d.state.Told(v.Request.Question, v.Reserved.Snapshot)
	commitment := ""
	if told, is := d.state.Verification(of); known && is {
		commitment = told.Answered.Answer
	}
	return d.answerOf(of, commitment)
}

// answerOf opens the commitment to an answer by the keys of commitments, the one in
// force first: an answer keeps the key it was committed under.
func (d *Domain) answerOf(id, commitment string) (confirmed, ok bool) {
	for _, k := range d.commitKeys() {
		if confirmed, ok = entry.AnswerOf(k.Key, id, commitment); ok {
			return confirmed, true
		}
	}
	return false, false
}

// answerSalt is what opens the commitment to an answer.
func (d *Domain) answerSalt(id, commitment string, confirmed bool) []byte {
	for _, k := range d.commitKeys() {
		if c, salt := entry.Commit(k.Key, entry.AnswerText(id, confirmed)); c == commitment {
			return salt
		}
	}
	return nil
}

// unreadable is an answer that the commitment key at hand does not open.
var unreadable = policies.Reason{Code: "ANSWER_UNREADABLE", Rule: "ledger", SetBy: "sandgate",
	ZH: "账本中的答复承诺无法用现有密钥打开", EN: "the ledger's commitment to the answer is not opened by the key at hand",
	HintZH: "请管理员恢复网关的承诺密钥", HintEN: "ask the administrator to restore the gateway's commitment key"}

// failVerification ends an open verification without an answer: with what stops it,
// or with the one constant code of everything that goes wrong in a worker.
func (d *Domain) failVerification(id string) error {
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		_, stopped, err := d.state.GroundNow(id, e.Time())
		if err != nil {
			return errEnded
		}
		if stopped == nil {
			stopped = &entry.VerificationFailed{Verification: id, Code: "EXECUTION_FAILED"}
		}
		e.Kind, e.Actor, e.VerificationFailed = entry.KindVerificationFailed, "gateway", stopped
		return nil
	})
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}
