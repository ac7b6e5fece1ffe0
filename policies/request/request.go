// Package request is what a party signs when it asks the gateway for something:
// the statement, its one canonical encoding, its signature (DSSE; Ed25519 or SM2) and
// the salted commitment to what must not stand in the ledger. The ledger keeps
// the signed statement, so whoever replays it checks that the party asked and
// the gateway did not invent it; text and parameters stay with whoever keeps the
// salt.
//
// The package is pure: it reads no clock and draws no randomness.
package request

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sandgate/sandgate/policies/signature"
)

// PayloadType of a signed request in its DSSE envelope
// (https://github.com/secure-systems-lab/dsse). A signature under a policy's
// payload type is not one under this.
const PayloadType = "application/vnd.sandgate.request+json"

// Version of the statement. A reader refuses every other.
const Version = 1

// MaxValidity is the longest from issued_at to not_after, Validity what a client
// takes unless told otherwise, Tolerance how far two clocks may differ.
const (
	MaxValidity = 15 * time.Minute
	Validity    = 10 * time.Minute
	Tolerance   = 2 * time.Minute
)

// Header is the gRPC metadata that carries the envelope of an act whose request
// message has no field for one, such as google.longrunning's cancellation.
const Header = "sandgate-signed-request-bin"

// MaxEnvelopeBytes caps a DSSE envelope.
const MaxEnvelopeBytes = 16 << 10

// Methods of asking. A method's terms say what it asks for in public; Body
// commits to the rest.
const (
	MethodQuery   = "job.query"    // a text of the operator's own
	MethodProduct = "job.product"  // a filed product; terms product, product_digest
	MethodVerify  = "verification" // one question about one subject; terms product, product_digest
	MethodCancel  = "job.cancel"   // terms job
	MethodModel   = "model.train"  // a model product; terms product, product_digest
	// MethodScore has rows scored by a model, MethodCancelModel ends its training; terms model.
	MethodScore       = "model.score"
	MethodCancelModel = "model.cancel"
	// MethodRound proposes an aggregation round; terms region, period and what is asked for
	// of scheme, price, domains and seconds. MethodCancelRound ends it; terms round.
	MethodRound       = "round.propose"
	MethodCancelRound = "round.cancel"
	MethodIngest      = "snapshot.ingest"
	MethodDestroy     = "snapshot.destroy"
	MethodRisk        = "risk.assess"
	MethodTwin        = "twin.publish" // terms dataset; the specification in the body
	// MethodScoreEncrypted has encrypted rows scored; terms model, rows.
	MethodScoreEncrypted = "model.score_encrypted"
)

// Names of terms.
const (
	TermPrice   = "price_nano_rho" // price offered; absent for the department's default
	TermTargets = "target_errors"  // how many target errors Body holds; absent for none
	TermProduct = "product"        // product id
	TermDigest  = "product_digest" // of the product's version; absent for an unknown product
	TermJob     = "job"            // job id
	TermDataset = "dataset"        // data set id
	TermModel   = "model"          // model id
	TermRows    = "rows"           // how many rows are to be scored, a decimal number
	TermRound   = "round"          // round id
	TermRegion  = "region"         // name of an agreement
	TermPeriod  = "period"         // of the data: a year or a month
	TermScheme  = "scheme"         // bgv or mask; absent for the agreement's first
	TermDomains = "domains"        // SHA-256 of the party ids in order, a line each; absent for all
	TermSeconds = "seconds"        // until the deadline; absent for the default
)

// Statement is what a party says it asks for. Every text in it is printable
// ASCII without space, quotation mark and backslash, so that its JSON needs no
// escape and any language writes the same bytes.
type Statement struct {
	V        int    `json:"v"`
	Origin   string `json:"origin"`             // of the log whose gateway is asked
	Party    string `json:"party"`              // who signs
	Official string `json:"official,omitempty"` // work account of the person who acts for it
	Method   string `json:"method"`
	Request  string `json:"request_id"` // UUID; one statement, one act
	Licence  string `json:"licence,omitempty"`
	Purpose  string `json:"purpose,omitempty"`
	// Terms are the method's own parameters that the ledger may show.
	Terms    map[string]string `json:"terms,omitempty"`
	IssuedAt int64             `json:"issued_at"` // Unix milliseconds
	NotAfter int64             `json:"not_after"` // Unix milliseconds
	// Body is Commit of what the ledger must not show; empty when there is nothing.
	Body string `json:"body,omitempty"`
}

// Signed is a statement with its party's signature, as the ledger keeps it.
// Envelope makes the DSSE envelope of it again.
type Signed struct {
	Statement Statement `json:"statement"`
	Sig       []byte    `json:"sig"` // Ed25519 over the DSSE pre-authentication encoding

	proof *proof // nil until a Prover verified it
}

// Fault is what is wrong with a signed request, in words for its sender. It
// repeats nothing of the request.
type Fault struct {
	Code           string
	ZH, EN         string
	HintZH, HintEN string
}

// Error implements error.
func (f *Fault) Error() string { return f.Code + ": " + f.EN }

func malformed(zh, en string) *Fault {
	return &Fault{Code: "SIGNED_REQUEST_MALFORMED", ZH: "已签名的请求格式有误：" + zh, EN: "the signed request is malformed: " + en,
		HintZH: "按 docs/requests.md 所列字节生成", HintEN: "docs/requests.md lists the exact bytes"}
}

// Faults that do not depend on the request's form.
var (
	ErrMissing = &Fault{Code: "SIGNATURE_MISSING", ZH: "请求未签名", EN: "the request is not signed",
		HintZH: "用本机构登记的签名密钥签名（docs/requests.md）；sandgate 命令行自动签名", HintEN: "sign it with your party's registered key (docs/requests.md); the sandgate command signs by itself"}
	ErrSignature = &Fault{Code: "SIGNATURE_INVALID", ZH: "请求的签名与登记的现行公钥不符", EN: "the signature is not by the party's key in force",
		HintZH: "核对密钥包中的 sign.key 是否为登记表现行公钥", HintEN: "see that the kit's sign.key is the one in the registry"}
	ErrExpired = &Fault{Code: "SIGNED_REQUEST_EXPIRED", ZH: "已签名的请求已过有效期", EN: "the signed request is past its not_after",
		HintZH: "以同一 request_id 重新签名；若仍失败，核对本机与网关的时钟", HintEN: "sign it anew under the same request_id; if that fails too, compare your clock with the gateway's"}
	ErrEarly = &Fault{Code: "SIGNED_REQUEST_EARLY", ZH: "已签名的请求的签发时间晚于网关时钟", EN: "the signed request is issued later than the gateway's clock",
		HintZH: "核对本机时钟", HintEN: "set your clock"}
)

// Mismatch says that a request is not the one signed. what names the field.
func Mismatch(what string) *Fault {
	return &Fault{Code: "SIGNED_REQUEST_MISMATCH", ZH: "请求与所签内容不一致：" + what, EN: "the request is not the one that was signed: " + what,
		HintZH: "签名后不得改动请求", HintEN: "a request must not change after it is signed"}
}

// maxTerms of one statement.
const maxTerms = 16

// Check says whether the statement is well formed, whoever signs it.
func (s *Statement) Check() error {
	optional := func(v string) bool { return v == "" || isWord(v) && len(v) <= 64 }
	switch {
	case s.V != Version:
		return malformed("v 不是 1", "v is not 1")
	case !isWord(s.Origin):
		return malformed("origin", "origin")
	case !isParty(s.Party):
		return malformed("party", "party")
	case s.Official != "" && (!isPerson(s.Official) || longestRun(s.Official) >= 9):
		// A person's number must not get into the ledger by this way.
		return malformed("official 须是工作账号，不得含证件或电话号码", "official is a work account without a person's number")
	case !isName(s.Method):
		return malformed("method", "method")
	case !isWord(s.Request) || len(s.Request) > 64:
		return malformed("request_id", "request_id")
	case !optional(s.Licence) || !optional(s.Purpose):
		return malformed("licence 或 purpose 有 ASCII 之外或须转义的字符", "licence or purpose holds characters beyond plain ASCII")
	case readsAsNumber(s.Licence) || readsAsNumber(s.Purpose) || readsAsNumber(s.Terms[TermProduct]) || readsAsNumber(s.Terms[TermDataset]):
		// A slip of arguments must not bring somebody's number into the ledger.
		return malformed("licence、purpose、product 或 dataset 像是证件、银行卡或电话号码", "licence, purpose, product or dataset reads as an identity, card or telephone number")
	case s.Body != "" && !isDigest(s.Body):
		return malformed("body 不是 SHA-256", "body is not a SHA-256 hash")
	case len(s.Terms) > maxTerms:
		return malformed("terms 过多", "too many terms")
	case s.IssuedAt <= 0 || s.NotAfter < s.IssuedAt || s.NotAfter-s.IssuedAt > MaxValidity.Milliseconds():
		return malformed("not_after 须在 issued_at 之后至多 15 分钟", "not_after lies at most 15 minutes behind issued_at")
	}
	for k, v := range s.Terms {
		if !isName(k) || !isWord(v) {
			return malformed("terms", "terms")
		}
	}
	return nil
}

// Bytes is the canonical encoding, which is signed: one JSON object without
// white space, members in the order of the fields, those that are empty left out,
// terms sorted by name.
func (s *Statement) Bytes() ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s.append(make([]byte, 0, 512)), nil
}

// append writes a checked statement, whose texts need no escape.
func (s *Statement) append(out []byte) []byte {
	text := func(name, value string) {
		out = append(append(append(append(out, name...), '"'), value...), '"')
	}
	optional := func(name, value string) {
		if value != "" {
			text(name, value)
		}
	}
	out = strconv.AppendInt(append(out, `{"v":`...), int64(s.V), 10)
	text(`,"origin":`, s.Origin)
	text(`,"party":`, s.Party)
	optional(`,"official":`, s.Official)
	text(`,"method":`, s.Method)
	text(`,"request_id":`, s.Request)
	optional(`,"licence":`, s.Licence)
	optional(`,"purpose":`, s.Purpose)
	if len(s.Terms) > 0 {
		before := `,"terms":{"`
		var few [8]string
		names := few[:0]
		for k := range s.Terms {
			names = append(names, k)
		}
		slices.Sort(names)
		for _, k := range names {
			out = append(append(out, before...), k...)
			text(`":`, s.Terms[k])
			before = `,"`
		}
		out = append(out, '}')
	}
	out = strconv.AppendInt(append(out, `,"issued_at":`...), s.IssuedAt, 10)
	out = strconv.AppendInt(append(out, `,"not_after":`...), s.NotAfter, 10)
	optional(`,"body":`, s.Body)
	return append(out, '}')
}

// Sign signs a statement with its party's key, which may sit in a device.
func Sign(s Statement, key crypto.Signer) (*Signed, error) {
	text, err := s.Bytes()
	if err != nil {
		return nil, err
	}
	sig, err := signature.Sign(key, dsse.PAE(PayloadType, text))
	if err != nil {
		return nil, fmt.Errorf("failed to sign request: %w", err)
	}
	return &Signed{Statement: s, Sig: sig}, nil
}

// Envelope is the DSSE envelope as JSON.
func (s *Signed) Envelope() ([]byte, error) {
	text, err := s.Statement.Bytes()
	if err != nil {
		return nil, err
	}
	return json.Marshal(dsse.Envelope{PayloadType: PayloadType, Payload: base64.StdEncoding.EncodeToString(text),
		Signatures: []dsse.Signature{{KeyID: s.Statement.Party, Sig: base64.StdEncoding.EncodeToString(s.Sig)}}})
}

// Open reads a DSSE envelope that holds a statement in canonical encoding with
// one signature, whose keyid is the party. It verifies nothing; Verify does.
func Open(envelope []byte) (*Signed, error) {
	if len(envelope) == 0 {
		return nil, ErrMissing
	}
	var env dsse.Envelope
	if len(envelope) > MaxEnvelopeBytes || json.Unmarshal(envelope, &env) != nil {
		return nil, malformed("不是 DSSE 信封", "not a DSSE envelope")
	}
	if env.PayloadType != PayloadType {
		return nil, malformed("payloadType 须为 "+PayloadType, "payloadType must be "+PayloadType)
	}
	text, err := base64.StdEncoding.Strict().DecodeString(env.Payload)
	if err != nil {
		return nil, malformed("payload 不是 base64", "payload is not base64")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	s := &Signed{}
	if err := dec.Decode(&s.Statement); err != nil {
		return nil, malformed("payload 不是请求声明", "payload is not a statement")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("payload 之后尚有内容", "something follows the statement")
	}
	again, err := s.Statement.Bytes()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, text) {
		return nil, malformed("payload 不是规范编码", "payload is not in canonical encoding")
	}
	if len(env.Signatures) != 1 || env.Signatures[0].KeyID != s.Statement.Party {
		return nil, malformed("须恰有一个签名，keyid 为 party", "it takes one signature, with the party as keyid")
	}
	if s.Sig, err = base64.StdEncoding.Strict().DecodeString(env.Signatures[0].Sig); err != nil {
		return nil, malformed("签名不是 base64", "the signature is not base64")
	}
	return s, nil
}

// Verify checks the signature against a party's public key.
func (s *Signed) Verify(key []byte) error {
	if s.proof != nil && s.proof.covers(s, key) {
		return nil
	}
	text, err := s.Statement.Bytes()
	if err != nil {
		return err
	}
	if !signature.Verify(key, dsse.PAE(PayloadType, text), s.Sig) {
		return ErrSignature
	}
	return nil
}

// Fresh says whether the statement may be acted on at an instant, within the
// tolerance of clocks.
func (s *Statement) Fresh(at time.Time) error {
	switch {
	case at.Before(time.UnixMilli(s.IssuedAt).Add(-Tolerance)):
		return ErrEarly
	case at.After(time.UnixMilli(s.NotAfter).Add(Tolerance)):
		return ErrExpired
	}
	return nil
}
