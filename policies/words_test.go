package policies

import (
	"strings"
	"testing"
)

// R01: nobody's number enters the ledger in the free text of a document, however it
// is spaced; dates, amounts, articles and codes do.
func TestR01_NobodysNumberStandsInADocument(t *testing.T) {
	for _, s := range []string{"240101199001011234", "身份证 240101 19900101 1234", "24010119900101123X", "138-0013-8000", "电话13800138000。", "138 0013 8000", "138.0013.8000",
		"6222 0200 0000 0000 000", "240101900101123", "１３８００１３８０００"} {
		if !holdsPersonalNumber(s) {
			t.Errorf("%q passes", s)
		}
	}
	for _, s := range []string{"", "发改价格〔2025〕65号", "2026-11-22 09:00:00", "239900-000001", "第 12 条第 3 款", "0.000878735", "40000.00", "1 000 000 元", "0471-1234567", "birth_date >= 1990"} {
		if holdsPersonalNumber(s) {
			t.Errorf("%q does not pass", s)
		}
	}
	full := town(t, "")
	for name, c := range map[string]struct{ text, signer string }{
		"order":         {"kind: Order\nid: o\nby: bureau\ntarget: {kind: operator, id: op}\nstage: suspend\nreason: {zh: 找王五 138-0013-8000}\nbasis: {zh: 第九条}\n", "bureau"},
		"negative list": {"kind: NegativeList\nby: dept\nentries: [{id: n, provider: dept, dataset: people, basis: {zh: \"240101199001011234\"}}]\n", "dept"},
		"registration":  {"kind: Registration\nsubject: {kind: dataset, id: people}\ncode: \"13800138000\"\ntype: first\nvalid_until: 2028-01-01T00:00:00Z\n", "bureau"},
		"revocation":    {"kind: Revocation\nlicence: l1\nby: dept\nreason: {zh: 240101 19900101 1234}\n", "dept"},
		"product":       {strings.Replace(productText(t, ""), "SELECT $1", "SELECT 13800138000", 1), "op"},
	} {
		got := refused(t, full, c.text, c.signer)
		if !strings.Contains(got, "nobody's number") || strings.Contains(got, "138") || strings.Contains(got, "2401") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
