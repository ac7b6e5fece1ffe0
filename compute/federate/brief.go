package federate

import (
	"encoding/json"
	"regexp"
)

// MaxBrief bounds a brief, in bytes: the code lists of its plan are in it.
const MaxBrief = 1 << 20

// maxText bounds the statement of a brief, in bytes.
const maxText = 1 << 16

// BriefKind says what a round computes.
type BriefKind string

// Kinds of briefs.
const (
	BriefQuery BriefKind = "query" // a protected query
	BriefModel BriefKind = "model" // statistics or gradients of a model
)

// Terms are what the domains agree on beside what is computed.
type Terms struct {
	// MaxUnits bounds the privacy units of each domain, 1…2^40: it bounds the cells.
	MaxUnits int64 `json:"max_units"`
	// Overlap is the number of domains that one privacy unit may stand in, at least 1: the
	// sensitivity of the sums is so many times that of one domain's cells, and a unit that
	// stands in several is counted in each.
	Overlap int `json:"overlap"`
	// Period names the data, such as "2026-10": rounds of one data set and period are about
	// the same data.
	Period string `json:"period"`
}

// Brief says in full what a proposal holds digests of. It travels once, beside the
// proposal, and is bound by it (Proposal.Brief).
type Brief struct {
	V    int       `json:"v"`
	Kind BriefKind `json:"kind"`
	// Region names the agreement (policies.Federation) under which the round is proposed.
	Region  string `json:"region"`
	Dataset string `json:"dataset"`
	Purpose string `json:"purpose"`
	Terms   Terms  `json:"terms"`
	// Salt is 32 random bytes, hex. It goes into the digests of the brief and of the schema,
	// which stand in ledgers, and stands in none itself: nobody can test a guess at the
	// statement by them.
	Salt string `json:"salt"`
	// Asked is what the receiver signed: every party holds the round against it.
	Asked Asked `json:"asked"`

	Query *QueryBrief `json:"query,omitempty"` // exactly the body of the kind is there
	Model *ModelBrief `json:"model,omitempty"`
}

// Asked is the receiver's own request, which the aggregator passes on and cannot make.
type Asked struct {
	// Request is the DSSE envelope of its request.Statement.
	Request []byte `json:"request"`
	// Salt is that of the statement's commitment to its body: of a query 32 bytes; of a model,
	// whose specification ledgers show, empty.
	Salt []byte `json:"salt,omitempty"`
}

// maxAsked bounds the receiver's envelope, in bytes.
const maxAsked = 16 << 10

// QueryBrief is the brief of a query.
type QueryBrief struct {
	SQL   string `json:"sql"`
	Price int64  `json:"price"` // of the plan, in nano-ρ
	// Plan is the protect.Plan that the proposer made, without Ranks: what a party without the
	// data set, the regulator, releases by. Whoever has it makes its own and compares digests.
	Plan json.RawMessage `json:"plan"`
	// Post is the algebra.Post of the statement: how its columns are named, ordered and cut.
	// Contributors hold it against their own analysis; the regulator signs it with the answer.
	Post json.RawMessage `json:"post"`
}

// ModelBrief is the brief of a model.
type ModelBrief struct {
	// Step is the JSON of what the round contributes to the model.
	Step json.RawMessage `json:"step"`
}

// periodPattern is a year or a month.
var periodPattern = regexp.MustCompile(`^[0-9]{4}(-(0[1-9]|1[0-2]))?$`)

// Encode is the brief in its canonical form.
func (b *Brief) Encode() []byte { return canonical(b) }

// BriefDigest is what a proposal holds of a brief's canonical bytes.
func BriefDigest(text []byte) string { return digest("brief", text) }

// DecodeBrief reads canonical bytes and checks their form. The error is a Fault of nobody
// in particular.
func DecodeBrief(text []byte) (*Brief, *Fault) {
	bad := func(zh, en string, args ...any) (*Brief, *Fault) { return nil, fault("", codeBrief, zh, en, args...) }
	if len(text) > MaxBrief {
		return bad("任务书超过 %d 字节", "the brief has more than %d bytes", MaxBrief)
	}
	b, err := decode[Brief](text)
	if err != nil {
		return bad("任务书不是规范格式", "the brief is not in canonical form")
	}
	switch {
	case b.V != Version:
		return bad("任务书版本 %d 未知", "the version %d of the brief is unknown", b.V)
	case b.Kind != BriefQuery && b.Kind != BriefModel:
		return bad("任务书种类未知，须为 query 或 model", "the kind of the brief is unknown; it is query or model")
	case (b.Query != nil) != (b.Kind == BriefQuery) || (b.Model != nil) != (b.Kind == BriefModel):
		return bad("任务书须恰有其种类的内容", "the brief holds exactly the body of its kind")
	case !partyPattern.MatchString(b.Region) || !partyPattern.MatchString(b.Dataset) || !partyPattern.MatchString(b.Purpose):
		return bad("任务书的协议、数据集或用途名称有误", "the name of agreement, data set or purpose in the brief is malformed")
	case !periodPattern.MatchString(b.Terms.Period):
		return bad("期次须为年（2026）或月（2026-10）", "the period is a year (2026) or a month (2026-10)")
	case b.Terms.MaxUnits < 1 || b.Terms.MaxUnits > 1<<40 || b.Terms.Overlap < 1 || b.Terms.Overlap > MaxContributors:
		return bad("任务书的单元数上限或重叠数超出范围", "the bound of units or the overlap of the brief is out of range")
	case !isHash(b.Salt):
		return bad("任务书缺少 32 字节的随机盐", "the brief lacks a salt of 32 random bytes")
	case len(b.Asked.Request) == 0 || len(b.Asked.Request) > maxAsked || len(b.Asked.Salt) > 64:
		return bad("任务书缺少接收方签名的请求，或其过长", "the brief lacks the request that the receiver signed, or it is too long")
	case b.Query != nil && (b.Query.SQL == "" || len(b.Query.SQL) > maxText || b.Query.Price <= 0 || len(b.Query.Plan) == 0 || len(b.Query.Post) == 0 || len(b.Query.Post) > maxText):
		return bad("查询任务书缺少语句、价格、计划或列的名称与次序，或过长", "the brief of a query lacks its statement, price, plan or the names of its columns, or is too long")
	}
	return b, nil
}

// MaxDelivery bounds a delivery, in bytes: a hub takes messages of 16 MiB.
const MaxDelivery = 15 << 20

// MaxRelease bounds the encoded release of a round, in bytes: it is in base64 in its
// delivery.
const MaxRelease = (MaxDelivery - 2*maxText) / 4 * 3

// Delivery is the answer of a round as the regulator's node signs it (SigningBytes) for the
// receiver.
type Delivery struct {
	V        int    `json:"v"`
	Session  string `json:"session"`
	From     string `json:"from"`
	Receiver string `json:"receiver"`
	At       int64  `json:"at"`     // Unix seconds
	Brief    string `json:"brief"`  // BriefDigest
	Values   string `json:"values"` // digest of the noisy sums, as in Result
	// Release is the encoded release, before Post.
	Release []byte `json:"release"`
	// Request is the id of the receiver's request, and Post that of its query: with them the
	// receiver knows that the answer is that of its own question, and what its columns are.
	Request string          `json:"request"`
	Post    json.RawMessage `json:"post,omitempty"`
}

// Encode is the delivery in its canonical form.
func (d *Delivery) Encode() []byte { return canonical(d) }

// Digest is what a Result holds of a delivery's canonical bytes.
func (d *Delivery) Digest() string { return DeliveryDigest(d.Encode()) }

// Content is the SHA-256 of the encoded release, in hex.
func (d *Delivery) Content() string { return hashOf(d.Release) }

// DeliveryDigest is the SHA-256 of the bytes, in hex.
func DeliveryDigest(text []byte) string { return hashOf(text) }

// DecodeDelivery reads canonical bytes and checks their form. It verifies no signature.
func DecodeDelivery(text []byte) (*Delivery, error) {
	d, err := decodeUpTo[Delivery](text, MaxDelivery)
	if err != nil {
		return nil, err
	}
	if d.V != Version || !isHash(d.Session) || !isHash(d.Brief) || !isHash(d.Values) || !partyPattern.MatchString(d.From) ||
		!partyPattern.MatchString(d.Receiver) || d.At <= 0 || len(d.Release) == 0 || d.Request == "" || len(d.Request) > 64 {
		return nil, errForm
	}
	return d, nil
}
