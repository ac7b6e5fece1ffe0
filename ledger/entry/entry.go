// Package entry is the vocabulary of the ledger: every event of the product as a
// typed, versioned, canonically encoded JSON object. An encoding is canonical
// when decoding and encoding again gives the same bytes; Decode refuses any
// other, so one event has exactly one leaf hash.
//
// An entry never holds a raw value, a row count of private data or a literal of
// an operator's query: queries are kept with their literals redacted, beside a
// salted commitment to the full text (Commit).
package entry

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// Version of the entry format. A reader refuses every other.
const Version = 1

// MaxBytes is the largest entry: a tlog-tiles entry bundle carries 16-bit
// lengths.
const MaxBytes = 65535

// Kind of an event.
type Kind string

const (
	KindGenesis   Kind = "genesis"
	KindStarted   Kind = "gateway.started"
	KindStopped   Kind = "gateway.stopped"
	KindHeartbeat Kind = "gateway.heartbeat"
	KindPolicy    Kind = "policy.applied"
	KindSnapshot  Kind = "snapshot.committed"
	KindRefused   Kind = "job.refused"
	KindReserved  Kind = "job.reserved"
	KindRepeated  Kind = "job.repeated"
	KindReleased  Kind = "job.released"
	KindFailed    Kind = "job.failed"

	// grading:

	// desk:

	// licences:

	// products:

	// metering:

	// keys:
)

// Entry is one event. At is whole milliseconds, UTC, and never goes backwards
// from one entry to the next.
type Entry struct {
	V     int    `json:"v"`
	Seq   uint64 `json:"seq"`
	At    int64  `json:"at"` // Unix milliseconds
	Kind  Kind   `json:"kind"`
	Actor string `json:"actor"` // party id, or "gateway"

	Genesis   *Genesis  `json:"genesis,omitempty"`
	Started   *Started  `json:"started,omitempty"`
	Policy    *Policy   `json:"policy,omitempty"`
	Snapshot  *Snapshot `json:"snapshot,omitempty"`
	Refused   *Refused  `json:"refused,omitempty"`
	Reserved  *Reserved `json:"reserved,omitempty"`
	Repeated  *Repeated `json:"repeated,omitempty"`
	Released  *Released `json:"released,omitempty"`
	Failed    *Failed   `json:"failed,omitempty"`
	Heartbeat *Beat     `json:"heartbeat,omitempty"`

	// masking:
	Risk *Risk `json:"risk,omitempty"`

	// grading:

	// desk:
	DutyNoted *DutyNoted `json:"duty_noted,omitempty"`

	// licences:

	// products:

	// metering:

	// keys:
	Destroyed *Destroyed `json:"destroyed,omitempty"`
	Rotated   *Rotated   `json:"rotated,omitempty"`
	Restored  *Restored  `json:"restored,omitempty"`

	// auto:
	Ordered *Ordered `json:"ordered,omitempty"`

	// signed:
	Signed *request.Signed `json:"signed,omitempty"` // what the party signed that asked for it

	// rotation:
	Announced *Announced `json:"announced,omitempty"`
	Erased    *Erased    `json:"erased,omitempty"`

	// verification:
	VerificationRefused  *VerificationRefused  `json:"verification_refused,omitempty"`
	VerificationReserved *VerificationReserved `json:"verification_reserved,omitempty"`
	VerificationAnswered *VerificationAnswered `json:"verification_answered,omitempty"`
	VerificationFailed   *VerificationFailed   `json:"verification_failed,omitempty"`

	// model:
	ModelRefused   *ModelRefused   `json:"model_refused,omitempty"`
	ModelReserved  *ModelReserved  `json:"model_reserved,omitempty"`
	ModelCertified *ModelCertified `json:"model_certified,omitempty"`
	ModelFailed    *ModelFailed    `json:"model_failed,omitempty"`
	ModelScored    *ModelScored    `json:"model_scored,omitempty"`
	ModelModule    *ModelModule    `json:"model_module,omitempty"`

	// twin:
	TwinReserved  *TwinReserved  `json:"twin_reserved,omitempty"`
	TwinPublished *TwinPublished `json:"twin_published,omitempty"`
	TwinFailed    *TwinFailed    `json:"twin_failed,omitempty"`
	// relations:
	RelationsReserved  *RelationsReserved  `json:"relations_reserved,omitempty"`
	RelationsPublished *RelationsPublished `json:"relations_published,omitempty"`
	RelationsFailed    *RelationsFailed    `json:"relations_failed,omitempty"`

	// hub:
	HubProposed *HubProposed `json:"hub_proposed,omitempty"`
	HubReleased *HubReleased `json:"hub_released,omitempty"`
	HubFailed   *HubFailed   `json:"hub_failed,omitempty"`

	// hub model:
	HubModelAsked     *HubModelAsked     `json:"hub_model_asked,omitempty"`
	HubModelPass      *HubModelPass      `json:"hub_model_pass,omitempty"`
	HubModelAnswered  *HubModelAnswered  `json:"hub_model_answered,omitempty"`
	HubModelMissed    *HubModelMissed    `json:"hub_model_missed,omitempty"`
	HubModelJudged    *HubModelJudged    `json:"hub_model_judged,omitempty"`
	HubModelCertified *HubModelCertified `json:"hub_model_certified,omitempty"`
	HubModelEnded     *HubModelEnded     `json:"hub_model_ended,omitempty"`

	// round:
	RoundJoined   *RoundJoined   `json:"round_joined,omitempty"`
	RoundAnswered *RoundAnswered `json:"round_answered,omitempty"`
	RoundEnded    *RoundEnded    `json:"round_ended,omitempty"`
	RoundVerdict  *RoundVerdict  `json:"round_verdict,omitempty"`

	// carried:
	Marked   *Marked   `json:"marked,omitempty"`
	Recorded *Recorded `json:"recorded,omitempty"`
}

// Time returns At as a time in UTC.
func (e *Entry) Time() time.Time { return time.UnixMilli(e.At).UTC() }

// Genesis is the first entry: whom this ledger trusts.
type Genesis struct {
	Origin       string `json:"origin"`        // checkpoint origin line
	Regulator    string `json:"regulator"`     // party id of the root of trust
	RegulatorKey string `json:"regulator_key"` // base64 Ed25519
	LogKey       string `json:"log_key"`       // checkpoint verifier key (C2SP signed-note vkey)
	ReceiptKey   string `json:"receipt_key"`   // base64 Ed25519 of the gateway's receipts
}

// Started says that a gateway began to serve, and under which protection.
type Started struct {
	Version string   `json:"version"`
	Tier    string   `json:"tier"`   // isolation tier of the workers
	Layers  []string `json:"layers"` // isolation layers proved at start
	Storage string   `json:"storage"`
	// Tick is the first instant after a job's start at which its outcome can be
	// seen, a Go duration, or "off"; absent from gateways that knew no ticks.
	Tick string `json:"tick,omitempty"`
	// Access is the head of the raw access log's chain at the start; see Beat.
	Access string `json:"access,omitempty"`
	// Heartbeat is the interval of heartbeats, a Go duration; absent from gateways
	// that knew no standing orders.
	Heartbeat string `json:"heartbeat,omitempty"`
	// Start is how it came by its state; absent from gateways that always replayed.
	Start *Start `json:"start,omitempty"`
}

// Beat is a heartbeat: it shows that silence was silence.
type Beat struct {
	Released uint64 `json:"released"` // releases since genesis
	// Access is the head of the raw access log's chain (ledger/accesslog), absent
	// before its first line.
	Access string `json:"access,omitempty"`
}

// Policy is a signed bundle in full: DSSE envelope, compressed, so that an
// auditor needs nothing but the log to verify the departments' signatures.
type Policy struct {
	Envelope []byte          `json:"envelope"` // DEFLATE of the DSSE envelope
	Kinds    []policies.Kind `json:"kinds"`
}

// Snapshot says that a data set now answers from a new immutable snapshot.
// Counts are private, so only the hash of the salted manifest stands here, and of
// a data set in exact mode its number of units rounded down to two digits
// (disclosure.PublicUnits), of which the information cap is a multiple.
type Snapshot struct {
	Dataset  string `json:"dataset"`
	Snapshot string `json:"snapshot"` // content hash of the stored file
	Manifest string `json:"manifest"` // SHA-256 of the manifest, which holds a random salt
	Spec     string `json:"spec"`     // policies.Entry.SpecDigest at ingest
	Units    int64  `json:"units,omitempty"`
	// Epoch is that of the token key by which units were tokenised.
	Epoch int `json:"token_epoch,omitempty"`
	// ConsentEpoch is that of the key by which rows are matched with consents; 0 too
	// where none are needed.
	ConsentEpoch int `json:"consent_epoch,omitempty"`
	// masking:
	// Variants are the hidden columns of the snapshot: policies.Entry.VariantNames at
	// ingest.
	Variants []string `json:"variants,omitempty"`
	// Generalised is how k-anonymous columns were generalised (maskops).
	Generalised *policies.Generalised `json:"generalised,omitempty"`
}

// Request is what an operator asked, without its literals.
type Request struct {
	Job     string        `json:"job"`
	Request string        `json:"request_id"`
	Licence string        `json:"licence"`
	Purpose string        `json:"purpose"`
	Core    *algebra.Core `json:"core,omitempty"`  // redacted; absent when the text was not a query
	Query   string        `json:"query"`           // Commit of the canonical query
	Price   budget.Nano   `json:"price,omitempty"` // asked price, 0 for the default
	// Product it runs under, and the digest of the version; empty for none.
	Product string `json:"product,omitempty"`
	Version string `json:"product_version,omitempty"`
	// Epoch is that of the key that the salt of Query was derived by.
	Epoch int `json:"commit_epoch,omitempty"`

	shared bool // Core is a Decoder's
}

// Shared is Core when a Decoder gives the same value to every entry that holds the
// same core, nil otherwise.
func (r *Request) Shared() *algebra.Core {
	if !r.shared {
		return nil
	}
	return r.Core
}

// Refused is a refusal 拒绝. Analysis holds the reasons found before policy was
// asked (the closed language); Reasons is everything decided.
type Refused struct {
	Request  Request           `json:"request"`
	Analysis []policies.Reason `json:"analysis,omitempty"`
	Reasons  []policies.Reason `json:"reasons"`
}

// Reserved is a reservation 预留: the price is debited in every scope before any
// data is read, and never given back.
type Reserved struct {
	Request   Request         `json:"request"`
	Mode      string          `json:"mode"`
	Snapshots []string        `json:"snapshots"` // parallel to Core.Datasets()
	Price     budget.Nano     `json:"price"`
	Charges   []budget.Charge `json:"charges"`
	// Rules commits to the exact rules the answer keeps; empty in dp mode.
	Rules string `json:"rules,omitempty"`
	// masking:
	// Pseudonyms are the keys of the core that release pseudonyms: each agreement is
	// given its own (policies.Book.PseudonymKeys).
	Pseudonyms []int `json:"pseudonyms,omitempty"`
}

// Repeated answers a request from an earlier release of the same canonical query
// on the same snapshots, free of charge: asking again averages nothing out.
type Repeated struct {
	Request Request `json:"request"`
	Of      string  `json:"of"` // the job that was released
}

// Released commits a release 发布结果 before it is answered.
type Released struct {
	Job    string `json:"job"`
	Digest string `json:"digest"` // SHA-256 of the encoded release
	// Cells is the SHA-256 of the encrypted record of who stands in the cells of an
	// exact release, without which later releases cannot be held against it.
	Cells string `json:"cells,omitempty"`
	// Rows and Bytes of the encoded release, for metering; absent from older entries.
	Rows  int64 `json:"rows,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
}

// Failed ends a reserved job that gave no release. The code is constant for
// everything that happened after data was read.
type Failed struct {
	Job  string `json:"job"`
	Code string `json:"code"`
	By   string `json:"by,omitempty"` // party that cancelled the job, or whose order or rule stopped it
	// Rule is the order, licence or rule that stopped the job, such as
	// "order/2026-07"; a replay finds it in force.
	Rule string `json:"rule,omitempty"`
}

// Encode returns the canonical bytes of e.
func Encode(e *Entry) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	out, err := written(e)
	if err != nil {
		return nil, fmt.Errorf("failed to encode entry: %w", err)
	}
	if len(out) > MaxBytes {
		return nil, fmt.Errorf("entry of kind %s has %d bytes; the most is %d", e.Kind, len(out), MaxBytes)
	}
	// Text that is not UTF-8 changes when it is written: what Decode would refuse
	// must not be appended.
	if _, err := Decode(out); err != nil {
		return nil, fmt.Errorf("failed to encode entry: it does not read back: %w", err)
	}
	return out, nil
}

// written is how every value of an entry is written.
func written(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// Decode reads canonical bytes. Unknown fields, another version, a body that
// does not fit the kind and any non-canonical spelling are refused.
func Decode(text []byte) (*Entry, error) {
	if len(text) > MaxBytes {
		return nil, errors.New("entry is too large")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var e Entry
	if err := dec.Decode(&e); err != nil {
		return nil, fmt.Errorf("failed to decode entry: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("entry has trailing bytes")
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	again, err := written(&e)
	if err != nil || !bytes.Equal(again, text) {
		return nil, errors.New("entry is not in canonical form")
	}
	return &e, nil
}

func (e *Entry) check() error {
	if e.V != Version {
		return fmt.Errorf("entry version %d is unknown; this reader knows %d", e.V, Version)
	}
	bodies := map[Kind]bool{
		KindGenesis: e.Genesis != nil, KindStarted: e.Started != nil, KindPolicy: e.Policy != nil,
		KindSnapshot: e.Snapshot != nil, KindRefused: e.Refused != nil, KindReserved: e.Reserved != nil,
		KindRepeated: e.Repeated != nil, KindReleased: e.Released != nil, KindFailed: e.Failed != nil,
		KindHeartbeat: e.Heartbeat != nil,

		// masking:
		KindRisk: e.Risk != nil,

		// grading:

		// desk:
		KindDutyNoted: e.DutyNoted != nil,

		// licences:

		// products:

		// metering:

		// keys:
		KindDestroyed: e.Destroyed != nil, KindRotated: e.Rotated != nil, KindRestored: e.Restored != nil,

		// auto:
		KindOrdered: e.Ordered != nil,

		// rotation:
		KindAnnounced: e.Announced != nil, KindErased: e.Erased != nil,

		// verification:
		KindVerificationRefused: e.VerificationRefused != nil, KindVerificationReserved: e.VerificationReserved != nil,
		KindVerificationAnswered: e.VerificationAnswered != nil, KindVerificationFailed: e.VerificationFailed != nil,

		// model:
		KindModelRefused: e.ModelRefused != nil, KindModelReserved: e.ModelReserved != nil, KindModelCertified: e.ModelCertified != nil,
		KindModelFailed: e.ModelFailed != nil, KindModelScored: e.ModelScored != nil, KindModelModule: e.ModelModule != nil,

		// twin:
		KindTwinReserved: e.TwinReserved != nil, KindTwinPublished: e.TwinPublished != nil, KindTwinFailed: e.TwinFailed != nil,
		KindRelationsReserved: e.RelationsReserved != nil, KindRelationsPublished: e.RelationsPublished != nil, KindRelationsFailed: e.RelationsFailed != nil,

		// hub:
		KindHubProposed: e.HubProposed != nil, KindHubReleased: e.HubReleased != nil, KindHubFailed: e.HubFailed != nil,

		// hub model:
		KindHubModelAsked: e.HubModelAsked != nil, KindHubModelPass: e.HubModelPass != nil, KindHubModelAnswered: e.HubModelAnswered != nil, KindHubModelMissed: e.HubModelMissed != nil,
		KindHubModelJudged: e.HubModelJudged != nil, KindHubModelCertified: e.HubModelCertified != nil, KindHubModelEnded: e.HubModelEnded != nil,

		// round:
		KindRoundJoined: e.RoundJoined != nil, KindRoundAnswered: e.RoundAnswered != nil, KindRoundEnded: e.RoundEnded != nil, KindRoundVerdict: e.RoundVerdict != nil,

		// carried:
		KindMarked: e.Marked != nil, KindRecorded: e.Recorded != nil,
	}
	if _, known := bodies[e.Kind]; !known && e.Kind != KindStopped {
		return fmt.Errorf("entry kind %q is unknown", e.Kind)
	}
	for kind, set := range bodies {
		if set != (kind == e.Kind) {
			return fmt.Errorf("entry of kind %s must hold exactly its own body", e.Kind)
		}
	}
	if e.Heartbeat != nil && e.Heartbeat.Access != "" && !isHash(e.Heartbeat.Access) || e.Started != nil && e.Started.Access != "" && !isHash(e.Started.Access) {
		return errors.New("head of the access log is not a SHA-256 hash")
	}
	// signed:
	if e.Signed != nil {
		if err := e.Signed.Statement.Check(); err != nil {
			return err
		}
	}
	if r := e.request(); r != nil {
		return r.check()
	}
	// verification:
	if err := e.checkVerification(); err != nil {
		return err
	}
	// model:
	if err := e.checkModel(); err != nil {
		return err
	}
	// twin:
	if err := e.checkTwin(); err != nil {
		return err
	}
	if err := e.checkRelations(); err != nil {
		return err
	}
	// hub:
	if err := e.checkHubModel(); err != nil {
		return err
	}
	if err := e.checkHub(); err != nil {
		return err
	}
	// round:
	if err := e.checkRound(); err != nil {
		return err
	}
	return e.checkKeys()
}

// request returns the request of the body, nil when its kind has none.
func (e *Entry) request() *Request {
	switch {
	case e.Refused != nil:
		return &e.Refused.Request
	case e.Reserved != nil:
		return &e.Reserved.Request
	case e.Repeated != nil:
		return &e.Repeated.Request
	}
	return nil
}

// check keeps out of the ledger what no reader could replay, a core that is not
// one, and what nobody may read there, a literal.
func (r *Request) check() error {
	if !isHash(r.Query) {
		return errors.New("query commitment is not a SHA-256 hash")
	}
	if r.Core == nil {
		return nil
	}
	return checkCore(r.Core)
}

func checkCore(c *algebra.Core) error {
	text := c.Bytes()
	if _, err := algebra.ParseCore(text); err != nil {
		return err
	}
	if !bytes.Equal(c.Redacted().Bytes(), text) {
		return errors.New("core holds a literal; only a redacted core is recorded")
	}
	return nil
}

// Commit is the salted commitment to a canonical query: the salt is derived from
// the query by a secret key, so equal queries commit equally (a repeat can be
// recognised by anyone who replays the ledger) while nobody can test a guess.
// Revealing salt and text opens one commitment and no other.
func Commit(key, canonical []byte) (commitment string, salt []byte) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("sandgate/query-salt/v1\n"))
	mac.Write(canonical)
	salt = mac.Sum(nil)
	return OpenCommit(salt, canonical), salt
}

// OpenCommit recomputes a commitment from a revealed salt and text.
func OpenCommit(salt, canonical []byte) string {
	h := sha256.New()
	h.Write([]byte("sandgate/query-commitment/v1\n"))
	// The length keeps a byte from moving between salt and text, which would
	// open one commitment in two ways.
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(salt))))
	h.Write(salt)
	h.Write(canonical)
	return hex.EncodeToString(h.Sum(nil))
}
