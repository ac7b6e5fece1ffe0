package attack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

// citizen is a well-formed identity number.
func citizen(i int) string {
	body := fmt.Sprintf("110101%04d0101%03d", 1950+i%50, i/50)
	weights := []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}
	sum := 0
	for k, w := range weights {
		sum += w * int(body[k]-'0')
	}
	return body + string("10X98765432"[sum%11])
}

// register is a data set of persons that is not shared: it may be verified against
// and nothing else.
type register struct {
	a  *Arena
	id string
	n  int
}

const verifyOperators = 3

var codeList = []string{"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"}

// score and code of person i.
func scoreOf(i int) int { return (i * 7) % 16 }

func codeOf(i int) string { return codeList[(i*5)%8] }

// newRegister puts a register of n persons in force; limits are the department's,
// as a YAML flow map.
func newRegister(t *testing.T, a *Arena, id string, n int, limits string) *register {
	t.Helper()
	x := &register{a, id, n}
	var list []string
	for _, c := range codeList {
		list = append(list, fmt.Sprintf("{value: %s}", c))
	}
	text := fmt.Sprintf(`kind: Catalogue
department: %[1]s
datasets:
  - id: %[2]s
    title: {zh: 测试}
    unit: {column: id, kind: person}
    one_row_per_unit: true
    sharing: {class: none, basis: 条例}
    sharing_methods: [verify]
    columns:
      - {name: id, title: {zh: 号码}, type: text, identifier: citizen_id}
      - {name: score, title: {zh: 分}, type: int, bounds: {lo: "0", hi: "16"}, grid: {from: "0", to: "16", step: "1"}}
      - {name: code, title: {zh: 码}, type: text, codes: [%[3]s]}
---
kind: Grading
department: %[1]s
scheme: GB/T 43697-2024
levels:
  %[2]s: {id: 2, score: 2, code: 2}
---
kind: Masking
department: %[1]s
masks:
  %[2]s: {id: {op: drop}}
---
kind: Disclosure
department: %[1]s
datasets:
  %[2]s: {mode: dp, purposes: [%[4]s], uses: {score: [verify], code: [verify]}, verification: %[5]s}
`, Department, id, strings.Join(list, ", "), Purpose, limits)
	until := time.Now().AddDate(4, 0, 0)
	for i := range verifyOperators {
		text += fmt.Sprintf("---\nkind: Licence\nid: %s\noperator: %s\ntitle: {zh: 授权}\nscenario: {zh: 测试}\npurposes: [%s]\nnot_before: %s\nnot_after: %s\njobs: [query, verification]\nresources:\n  - {dataset: %s, columns: [score, code]}\nsecurity_terms: {zh: 沙箱}\nexit_terms: {zh: 停止}\n",
			LicenceID(Op(i), id), Op(i), Purpose, until.AddDate(-5, 0, 0).UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339), id)
	}
	a.Must(t, text, Department, Regulator)
	var csv strings.Builder
	csv.WriteString("id,score,code\n")
	for i := range n {
		fmt.Fprintf(&csv, "%s,%d,%s\n", citizen(i), scoreOf(i), codeOf(i))
	}
	a.Ingest(t, id, csv.String())
	for i := range verifyOperators {
		products := []string{x.product(i, "code", policies.VerificationPredicate{Dataset: id, Columns: []string{"code"}, Op: policies.PredEquals})}
		for th := 1; th < 16; th++ {
			products = append(products, x.product(i, fmt.Sprintf("below%d", th), policies.VerificationPredicate{Dataset: id, Columns: []string{"score"}, Op: policies.PredLess, Threshold: fmt.Sprint(th)}))
		}
		text := strings.Join(products, "---\n")
		a.Must(t, text, Op(i))
		docs, err := policies.ParseBundle([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var reviews []string
		for _, d := range docs {
			p := d.Body.(*policies.Product)
			for _, by := range []string{Department, Regulator} {
				reviews = append(reviews, fmt.Sprintf("kind: ProductReview\nproduct: %s\ndigest: %s\nby: %s\napprove: true\nofficials: [zhang]\nreason: {zh: 合规}\n", p.ID, p.Digest(), by))
			}
		}
		a.Must(t, strings.Join(reviews, "---\n"), Regulator, Department)
	}
	return x
}

func (x *register) productID(op int, name string) string {
	return fmt.Sprintf("%s-%s-%s", x.id, Op(op), name)
}

// product is the document of a verification product.
func (x *register) product(op int, name string, q policies.VerificationPredicate) string {
	text := fmt.Sprintf("kind: Product\nid: %s\noperator: %s\nlicence: %s\ntitle: {zh: 核验}\npurposes: [%s]\njob: verification\npredicate: {dataset: %s, columns: [%s], op: %s", x.productID(op, name), Op(op), LicenceID(Op(op), x.id), Purpose, x.id, q.Columns[0], q.Op)
	if q.Threshold != "" {
		text += fmt.Sprintf(", threshold: %q", q.Threshold)
	}
	return text + "}\n"
}

// consent records that persons agree to every operator's use.
func (x *register) consent(t *testing.T, persons ...int) {
	t.Helper()
	var text []string
	for _, i := range persons {
		s, err := x.a.Client(Department).Licence.ComputeSubject(t.Context(), &sandgatev1.ComputeSubjectRequest{Dataset: x.id, Id: citizen(i)})
		if err != nil {
			t.Fatal(err)
		}
		for op := range verifyOperators {
			text = append(text, fmt.Sprintf("kind: Consent\nid: %s-%d-%d\ndepartment: %s\nsubject: %s\noperator: %s\npurposes: [%s]\ndatasets: [%s]\nnot_before: 2020-01-01T00:00:00Z\nnot_after: 2025-01-01T00:00:00Z\ndocument: 档案\n",
				x.id, i, op, Department, s.GetSubject(), Op(op), Purpose, x.id))
		}
	}
	from := time.Now().AddDate(-1, 0, 0).UTC()
	for i := range text {
		text[i] = strings.NewReplacer("2020-01-01T00:00:00Z", from.Format(time.RFC3339), "2025-01-01T00:00:00Z", from.AddDate(5, 0, 0).Format(time.RFC3339)).Replace(text[i])
	}
	for len(text) > 0 {
		n := min(60, len(text))
		x.a.Must(t, strings.Join(text[:n], "---\n"), Department)
		text = text[n:]
	}
}

// ask is one question about a person; the code is that of a refusal.
func (x *register) ask(ctx context.Context, op int, product, id, claim string) (confirmed bool, refused string) {
	v, err := x.a.Client(Op(op)).Verify.Verify(ctx, &sandgatev1.VerifyRequest{RequestId: uuid.NewString(), Licence: LicenceID(Op(op), x.id), Purpose: Purpose,
		Product: x.productID(op, product), SubjectId: id, Claim: claim})
	if err != nil {
		return false, Reason(err)
	}
	return v.GetAnswer() == sandgatev1.Verification_ANSWER_CONFIRMED, ""
}

// search looks for a person's score by halves; when an operator is refused the next
// one goes on.
func (x *register) search(t *testing.T, person, operators int) (lo, hi int) {
	t.Helper()
	lo, hi = 0, 16
	op := 0
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		below, refused := x.ask(t.Context(), op, fmt.Sprintf("below%d", mid), citizen(person), "")
		if refused == "QUESTIONS_EXHAUSTED" {
			if op++; op == operators {
				return lo, hi
			}
			continue
		}
		if refused != "" {
			t.Fatal(refused)
		}
		if below {
			hi = mid
		} else {
			lo = mid
		}
	}
	return lo, hi
}

// grounds counts the regulator's view of a register, and returns all of it.
func (x *register) grounds(t *testing.T) map[string]int {
	t.Helper()
	out := map[string]int{}
	req := &sandgatev1.ListVerificationsRequest{PageSize: 200}
	for {
		r, err := x.a.Client(Regulator).Verify.ListVerifications(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range r.GetVerifications() {
			if strings.HasPrefix(v.GetProduct(), x.id+"-") {
				out[v.GetInsight().GetGround()]++
			}
		}
		for _, p := range r.GetProbes() {
			if strings.HasSuffix(p.GetLicence(), "-"+x.id) {
				out["probe "+p.GetPattern()]++
			}
		}
		if req.PageToken = r.GetNextPageToken(); req.PageToken == "" {
			return out
		}
	}
}

func persons(from, n int) (out []int) {
	for i := range n {
		out = append(out, from+i)
	}
	return out
}

// A search by halves, of one operator or of three together, learns two bits a year
// about a column and no more. Control: over two years the same search finds all.
func TestAttack15_VerificationSearch(t *testing.T) {
	a, err := NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop() }()
	n := Trials(6, 64)
	x := newRegister(t, a, "search", 2*n, "{subjects_per_month: 1000}")
	x.consent(t, persons(0, 2*n)...)
	right := func(first, operators int) (rate float64) {
		for i := first; i < first+n; i++ {
			lo, hi := x.search(t, i, operators)
			if s := scoreOf(i); s >= lo && s < hi {
				rate += 1 / float64(hi-lo) // a guess among what is left
			}
		}
		return rate / float64(n)
	}
	alone := right(0, 1)
	// Together they ask on; what is beyond two bits is not answered from data, and
	// leads astray whoever believes it.
	naive := right(n, 3)
	g := x.grounds(t)
	if g["exhausted"] == 0 || g["probe search"] == 0 || g["probe pool"] == 0 {
		t.Errorf("the regulator is not shown the search: %v", g)
	}
	if g["data"] > 2*2*n {
		t.Errorf("%d answers from data about %d subjects", g["data"], 2*n)
	}
	los, his, control := make([]int, n), make([]int, n), 0
	for year := range 2 {
		a.Wind(time.Duration(1+year) * 366 * 24 * time.Hour)
		for i := range n {
			if year == 0 {
				his[i] = 16
			}
			for range 2 {
				mid := (los[i] + his[i]) / 2
				below, refused := x.ask(t.Context(), 0, fmt.Sprintf("below%d", mid), citizen(i), "")
				if refused != "" {
					t.Fatal(refused)
				}
				if below {
					his[i] = mid
				} else {
					los[i] = mid
				}
			}
			if year == 1 && los[i] == scoreOf(i) {
				control++
			}
		}
	}
	Record(t, Score{Attack: "15 verification: search by halves, alone and three together", Figure: fmt.Sprintf("%.2f alone, %.2f together", alone, naive), Bound: 0.25, Control: fmt.Sprintf("%d of %d found over two years", control, n),
		Pass: alone <= 0.25+1e-9 && naive <= 0.25+1e-9 && control == n, Trials: 2 * n, Note: "16 cells; two bits leave four"})
}

// Claim after claim about one subject: two of eight are answered. Control: subjects
// about each of whom only the right claim is tried are confirmed.
func TestAttack15_VerificationClaims(t *testing.T) {
	a := SharedInside(t)
	n := Trials(5, 40)
	x := newRegister(t, a, "claims", 2*n, "{subjects_per_month: 1000}")
	x.consent(t, persons(0, 2*n)...)
	found, refusals := 0, 0
	for i := range n {
		for _, op := range []int{0, 1, 2} {
			for _, c := range codeList {
				// Each operator tries others, as colluders would.
				yes, refused := x.ask(t.Context(), op, "code", citizen(i), codeList[(slices.Index(codeList, c)+2*op)%8])
				if yes {
					found++
					break
				}
				if refused == "QUESTIONS_EXHAUSTED" {
					refusals++
					break
				}
			}
		}
	}
	control := 0
	for i := n; i < 2*n; i++ {
		if yes, _ := x.ask(t.Context(), 0, "code", citizen(i), codeOf(i)); yes {
			control++
		}
	}
	within := 0 // whose code is among the first two, which two bits may tell
	for i := range n {
		if k := slices.Index(codeList, codeOf(i)); k < 2 {
			within++
		}
	}
	g := x.grounds(t)
	if g["probe claims"] == 0 || refusals == 0 {
		t.Errorf("the regulator is not shown the claims: %v, %d refused", g, refusals)
	}
	Record(t, Score{Attack: "15 verification: claim after claim, three operators", Figure: found, Bound: within, Control: fmt.Sprintf("%d of %d right claims confirmed", control, n), Pass: found <= within && control == n, Trials: n})
}

// Person after person: a quota of subjects ends it, whoever of them agreed, and the
// regulator is shown. Control: with a large quota everybody who agreed is found.
func TestAttack15_VerificationSubjects(t *testing.T) {
	a := SharedInside(t)
	const people, quota = 12, 4
	found := map[string]int{}
	for _, c := range []struct{ id, limits string }{{"strict", fmt.Sprintf("{subjects_per_month: %d}", quota)}, {"loose", "{subjects_per_month: 1000}"}} {
		x := newRegister(t, a, c.id, people, c.limits)
		x.consent(t, persons(0, people)...)
		for i := range people {
			if yes, _ := x.ask(t.Context(), 0, "code", citizen(i), codeOf(i)); yes {
				found[c.id]++
			}
		}
		if g := x.grounds(t); (g["probe subjects"] > 0) != (c.id == "strict") {
			t.Errorf("%s: %v", c.id, g)
		}
		if _, err := a.Run(Op(0), c.id, "SELECT COUNT(*) AS n FROM "+c.id, 0); Reason(err) != "DATASET_NOT_SHARED" {
			t.Errorf("R03: a query on what is not shared: %v", err)
		}
	}
	Record(t, Score{Attack: "15 verification: subject after subject", Figure: found["strict"], Bound: quota, Control: fmt.Sprintf("%d of %d with a quota of 1000", found["loose"], people), Pass: found["strict"] <= quota && found["loose"] == people, Trials: 2 * people})
}

// Asked again, in other spellings and by others, a question has one answer, read
// from data once.
func TestAttack15_VerificationSticky(t *testing.T) {
	a := SharedInside(t)
	x := newRegister(t, a, "sticky", 4, "{subjects_per_month: 1000}")
	x.consent(t, 0, 1)
	wrong := codeList[(slices.Index(codeList, codeOf(1))+1)%8]
	answers := map[string]int{}
	for range 3 {
		for op := range verifyOperators {
			for _, q := range []struct{ id, claim string }{{citizen(0), codeOf(0)}, {strings.ToLower(citizen(0)), " " + codeOf(0)}, {citizen(1), wrong}} {
				yes, refused := x.ask(t.Context(), op, "code", q.id, q.claim)
				answers[fmt.Sprint(strings.ToUpper(q.id) == citizen(0), yes, refused)]++
			}
		}
	}
	g := x.grounds(t)
	pass := answers["true true"] == 18 && answers["false false"] == 9 && g["data"] == 2 && g["stored"] == 25
	// Control: another question is another answer.
	yes, _ := x.ask(t.Context(), 0, "code", citizen(0), wrong)
	Record(t, Score{Attack: "15 verification: asked again", Figure: fmt.Sprintf("%d of 27 from data", g["data"]), Bound: 2, Control: fmt.Sprintf("another claim: %v", yes), Pass: pass && yes == (codeOf(0) == wrong), Trials: 27, Note: fmt.Sprint(answers, g)})
}

// Nothing that an operator is shown depends on a consent: refusals, repeats, quotas
// and bills are the same about one who agreed and one who did not.
func TestAttack15_VerificationConsentHidden(t *testing.T) {
	a := SharedInside(t)
	shown := func(id string, agreed bool) (out []string) {
		x := newRegister(t, a, id, 2, "{subjects_per_month: 2}")
		if agreed {
			x.consent(t, 0)
		}
		wrong := codeList[(slices.Index(codeList, codeOf(0))+1)%8]
		other := codeList[(slices.Index(codeList, codeOf(0))+2)%8]
		for _, q := range [][2]string{{citizen(0), wrong}, {citizen(0), wrong}, {citizen(0), other}, {citizen(0), codeOf(0)}, {citizen(1), wrong}, {citizen(7), wrong}, {citizen(0), wrong}} {
			v, err := a.Client(Op(0)).Verify.Verify(t.Context(), &sandgatev1.VerifyRequest{RequestId: uuid.NewString(), Licence: LicenceID(Op(0), id), Purpose: Purpose, Product: x.productID(0, "code"), SubjectId: q[0], Claim: q[1]})
			out = append(out, fmt.Sprint(v.GetState(), v.GetAnswer(), v.GetRepeat(), v.GetInsight() != nil, len(v.GetReceipt().GetJson()) > 0, Reason(err)))
		}
		l, err := a.Client(Op(0)).Licence.GetLicence(t.Context(), &sandgatev1.GetLicenceRequest{Name: "licences/" + LicenceID(Op(0), id)})
		if err != nil {
			t.Fatal(err)
		}
		st, err := a.Client(Op(0)).Statement.GetStatement(t.Context(), &sandgatev1.GetStatementRequest{StartTime: timestamppb.New(a.Clock().Add(-time.Hour)), EndTime: timestamppb.New(a.Clock().Add(time.Hour))})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range st.GetLines() {
			if v.GetLicence() == LicenceID(Op(0), id) {
				out = append(out, fmt.Sprint("calls ", v.GetCalls(), " repeats ", v.GetRepeats(), " refused ", v.GetRefused(), " failed ", v.GetFailed(), " rows ", v.GetRows()))
			}
		}
		return append(out, fmt.Sprint(l.GetQuotas()))
	}
	with, without := shown("agreed", true), shown("silent", false)
	if !slices.Contains(with, "calls 5 repeats 2 refused 2 failed 0 rows 5") || len(with) != len(without) {
		t.Errorf("the statement: %v", with)
	}
	differ := 0
	for i := range with {
		if with[i] != without[i] {
			differ++
			t.Logf("%s\n%s", with[i], without[i])
		}
	}
	// Control: the regulator does see it.
	control := (&register{a: a, id: "agreed"}).grounds(t)["data"] > 0 && (&register{a: a, id: "silent"}).grounds(t)["data"] == 0
	Record(t, Score{Attack: "15 verification: what a consent shows to an operator", Figure: differ, Bound: 0, Control: fmt.Sprintf("regulator sees it: %v", control), Pass: differ == 0 && control, Trials: len(with), Note: fmt.Sprint(with)})
}
