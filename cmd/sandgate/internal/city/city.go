// Package city generates the demo city: 砂门市 Sandgate City, which does not
// exist. Every person, enterprise and amount is drawn from a seed; nothing is
// taken from a real register.
//
// Identifiers are well formed, so that ingest can check them, and cannot belong
// to anybody: identity numbers and credit codes carry region codes under 2399, a
// prefecture code that GB/T 2260 does not assign and that this project keeps for
// fiction; phone numbers stand in segment 154, which was unassigned when this was
// written.
//
// The tables are linked by identity number and by credit code, skewed as real
// ones are (log-normal amounts, Zipf tails, unequal districts), and dirty: empty
// cells, codes that are not on the list, amounts in the wrong unit, and one
// malformed row in 997, which stays below the bad-row limit of the catalogue.
package city

import (
	"fmt"
	"io"
)

// Config of a city. The same Config gives the same bytes on every machine.
type Config struct {
	Seed      uint64
	Residents int // persons; below 1 is taken as 1, above 2 000 000 as 2 000 000
}

// TableInfo describes one raw table.
type TableInfo struct {
	Name       string   // data set id in the catalogue
	Department string   // party id of the source department
	Columns    []string // CSV header, in order
}

// Tables lists the raw tables in the order a demo ingests them.
func Tables() []TableInfo {
	infos := make([]TableInfo, len(tables))
	for i, t := range tables {
		infos[i] = TableInfo{Name: t.name, Department: t.department, Columns: append([]string(nil), t.columns...)}
	}
	return infos
}

type table struct {
	name, department string
	columns          []string
	write            func(*City, *rows)
}

var tables = []table{
	{"districts", "civil_affairs", []string{"code", "name", "region"}, (*City).districts},
	{"population", "public_security", []string{"id_number", "name", "gender", "birth_date", "district",
		"household_type", "phone", "address"}, (*City).population},
	{"marriage", "civil_affairs", []string{"id_number", "spouse_id", "event_date", "event", "district"}, (*City).marriage},
	{"enterprises", "market_regulation", []string{"credit_code", "name", "legal_person_id", "industry",
		"registered_capital_yuan", "employees", "established_date", "status", "district"}, (*City).enterprises},
	{"social_insurance", "hrss", []string{"id_number", "month", "scheme", "base_yuan", "contribution_yuan",
		"employer_code", "district", "industry"}, (*City).socialInsurance},
	{"housing_fund", "housing_fund_centre", []string{"id_number", "month", "deposit_yuan", "balance_yuan", "district"}, (*City).housingFund},
	{"property", "natural_resources", []string{"id_number", "certificate_no", "area_sqm", "price_yuan", "use",
		"district", "registered_date"}, (*City).property},
	{"visits", "health", []string{"id_number", "visit_date", "hospital", "department", "diagnosis",
		"diagnosis_detail", "fee_yuan", "insured_yuan"}, (*City).visits},
}

// City is a generated city: its people and enterprises. It does not change after
// New; several goroutines may call Write at once.
type City struct {
	cfg    Config
	people []person
	firms  []firm
}

// New draws the people and enterprises. It takes about a second and 40 MB for
// 200 000 residents.
func New(cfg Config) *City {
	cfg.Residents = min(max(cfg.Residents, 1), 2_000_000)
	g := &City{cfg: cfg}
	g.firms = newFirms(cfg)
	g.people = newPeople(cfg, g.firms)
	return g
}

// Write writes one table of Tables as CSV (RFC 4180, UTF-8, LF, header first).
// The bytes depend on the Config and the table only. It errs on an unknown table
// and on a failing w.
func (g *City) Write(table string, w io.Writer) error {
	for i, t := range tables {
		if t.name != table {
			continue
		}
		r := newRows(w, t.columns, newDraws(g.cfg.Seed, uint64(i)+100))
		t.write(g, r)
		if err := r.flush(); err != nil {
			return fmt.Errorf("failed to write table %s: %w", table, err)
		}
		return nil
	}
	return fmt.Errorf("unknown table %q", table)
}
