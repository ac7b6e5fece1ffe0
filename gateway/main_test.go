package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	_ "github.com/sandgate/sandgate/compute/engine/duckdb" // the workers' handlers
	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/attack"
)

func TestMain(m *testing.M) { attack.Main(m) }

// shared is the arena of tests that only use the API: the real program at full
// strength, else inside this process, where the race detector sees the gateway.
func shared(t testing.TB) *attack.Arena {
	t.Helper()
	if attack.Full() {
		return attack.Shared(t)
	}
	return attack.SharedInside(t)
}

// wellFormed fails the test unless err is a status with an ErrorInfo and a
// Chinese message; it returns the code and the reason.
func wellFormed(t testing.TB, what string, err error) (codes.Code, string) {
	t.Helper()
	st, ok := status.FromError(err)
	if err == nil || !ok {
		t.Errorf("%s: error %v is no refusal", what, err)
		return codes.OK, ""
	}
	var info *errdetails.ErrorInfo
	zh := ""
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.LocalizedMessage:
			if d.GetLocale() == "zh-CN" {
				zh = d.GetMessage()
			}
		}
	}
	if info == nil || info.GetDomain() != gateway.ErrorDomain || info.GetReason() == "" {
		t.Errorf("%s: %v has no ErrorInfo", what, err)
		return st.Code(), ""
	}
	if !strings.ContainsFunc(zh, func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
		t.Errorf("%s: %s has no Chinese message: %q", what, info.GetReason(), zh)
	}
	return st.Code(), info.GetReason()
}

// people is a table of n units with an age, a district, a fee and a flag.
func people(id string, n int, rule string) attack.Table {
	var csv strings.Builder
	csv.WriteString("id,age,district,fee,flag\n")
	for i := range n {
		fmt.Fprintf(&csv, "u%d,%d,%s,%d.50,%v\n", i, i%90, string("abc"[i%3]), i%1000, i%7 == 0)
	}
	return attack.Table{ID: id, Rule: rule, CSV: csv.String(), Columns: []attack.Column{
		{Name: "age", YAML: `type: int, bounds: {lo: "0", hi: "120"}`, Uses: "key, filter, measure"},
		{Name: "district", YAML: "type: text, codes: [{value: a}, {value: b}, {value: c}]", Uses: "key, filter"},
		{Name: "fee", YAML: `type: decimal, scale: 2, bounds: {lo: "0", hi: "1000.00"}`, Uses: "measure, filter"},
		{Name: "flag", YAML: "type: bool", Uses: "filter"},
	}}
}

// price is what a plain count costs by default.
func price(t testing.TB, a *attack.Arena, dataset string) int64 {
	t.Helper()
	x, err := a.Client(attack.Op(0)).Operator.ExplainJob(t.Context(), explain(attack.Op(0), dataset, "SELECT COUNT(*) AS n FROM "+dataset+" WHERE age = 119"))
	if err != nil {
		t.Fatal(err)
	}
	if x.GetPriceNanoRho() <= 0 {
		t.Fatalf("no price: %v", x)
	}
	return x.GetPriceNanoRho()
}

// rho renders nano-ρ as policy documents want it.
func rho(nano int64) string { return fmt.Sprintf("%d.%09d", nano/1_000_000_000, nano%1_000_000_000) }
