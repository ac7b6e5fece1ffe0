package policies

import (
	"strings"
	"testing"
	"time"
)

const (
	townCeiling = "kind: PriceCeiling\noperator: op\nbasis: 价格文件\nprices: [{licence: l1, yuan: \"12.50\"}]\n"
	townTariff  = "kind: Tariff\noperator: op\nprices: [{licence: l1, yuan: \"10\"}]\n"
)

// pricedTown lets licence l1 serve industry too.
func pricedTown(t testing.TB) *Book {
	b := apply(t, town(t, ""), edited(t, townLicence, "purposes: [plan]", "purposes: [plan, trade]"), "bureau", "dept")
	return apply(t, b, townCeiling, "bureau")
}

// R09: governance is free, industry pays the tariff of its time, never more than
// the ceiling of that time.
func TestR09_ChargeStaysUnderTheCeiling(t *testing.T) {
	b := apply(t, pricedTown(t), townTariff, "op")
	later := applied.Add(time.Hour)
	for name, c := range map[string]struct {
		purpose string
		at      time.Time
		fen     int64
	}{
		"industry":       {"trade", later, 1000},
		"governance":     {"plan", later, 0},
		"before":         {"trade", applied.Add(-time.Hour), 0},
		"unknown":        {"ghost", later, 0},
		"from the start": {"trade", applied, 1000},
	} {
		if fen, cut := b.Charge("op", "l1", "", c.purpose, c.at); fen != c.fen || cut {
			t.Errorf("%s: %d fen, cut %t", name, fen, cut)
		}
	}
	env := signed(t, strings.Replace(townCeiling, "12.50", "8", 1), "bureau")
	lowered, _, err := b.Apply(env, later)
	if err != nil {
		t.Fatal(err)
	}
	if fen, cut := lowered.Charge("op", "l1", "", "trade", later); fen != 800 || !cut {
		t.Errorf("under a lowered ceiling: %d fen, cut %t", fen, cut)
	}
	if fen, cut := lowered.Charge("op", "l1", "", "trade", applied); fen != 1000 || cut {
		t.Errorf("before it was lowered: %d fen, cut %t", fen, cut)
	}
	gone, _, err := lowered.Apply(signed(t, "kind: Tariff\noperator: op\nprices: []\n", "op"), later)
	if err != nil {
		t.Fatal(err)
	}
	if fen, _ := gone.Charge("op", "l1", "", "trade", later); fen != 0 {
		t.Errorf("a withdrawn price: %d fen", fen)
	}
	if fen, _ := gone.Charge("op", "l1", "", "trade", applied); fen != 1000 {
		t.Errorf("before it was withdrawn: %d fen", fen)
	}
}

func TestR09_PricesAreRefusedByName(t *testing.T) {
	b := pricedTown(t)
	for name, c := range map[string]struct{ text, signer, want string }{
		"above the ceiling":     {strings.Replace(townTariff, "10", "12.51", 1), "op", "above its ceiling"},
		"no ceiling":            {strings.Replace(townTariff, "licence: l1,", "licence: l1, product: none,", 1), "op", "has no product"},
		"licence of another":    {strings.Replace(townTariff, "l1", "l9", 1), "op", "holds no licence"},
		"negative":              {strings.Replace(townTariff, "10", "-1", 1), "op", "not an amount"},
		"three places":          {strings.Replace(townTariff, "10", "1.005", 1), "op", "not an amount"},
		"twice":                 {strings.Replace(townTariff, "prices: [", "prices: [{licence: l1, yuan: \"1\"}, ", 1), "op", "stands twice"},
		"unsigned":              {townTariff, "dept", "signature of operator"},
		"ceiling by a stranger": {townCeiling + "# 2\n", "dept", "signature of the regulator"},
		"ceiling without basis": {strings.Replace(townCeiling, "basis: 价格文件\n", "", 1), "bureau", "basis is missing"},
		"unknown operator":      {strings.Replace(townCeiling, "operator: op", "operator: ghost", 1), "bureau", "not in the registry"},
	} {
		if got := refused(t, b, c.text, c.signer); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q", name, got, c.want)
		}
	}
	if got := refused(t, town(t, ""), townTariff, "op"); !strings.Contains(got, "no price ceiling") {
		t.Errorf("without any ceiling: %s", got)
	}
}
