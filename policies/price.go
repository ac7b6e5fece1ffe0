package policies

import (
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Kinds of the price desk (发改价格〔2025〕65号).
const (
	KindPriceCeiling Kind = "PriceCeiling" // regulator: 上限收费标准
	KindTariff       Kind = "Tariff"       // operator: its prices, at or below the ceilings
)

// PriceCeiling sets the most that an operator may charge for one call under a
// licence, by product where one is named. What has no ceiling may not be charged.
type PriceCeiling struct {
	Operator string      `yaml:"operator" json:"operator"`
	Basis    string      `yaml:"basis" json:"basis"` // document that fixed it
	Prices   []CallPrice `yaml:"prices" json:"prices"`
}

// Tariff is an operator's public price list.
type Tariff struct {
	Operator string      `yaml:"operator" json:"operator"`
	Prices   []CallPrice `yaml:"prices" json:"prices"`
}

// CallPrice is a price of one answered call in yuan, a decimal with at most two
// places ("12.50").
type CallPrice struct {
	Licence string `yaml:"licence" json:"licence"`
	Product string `yaml:"product,omitempty" json:"product,omitempty"` // empty: every call under the licence that no line of its own names
	Yuan    string `yaml:"yuan" json:"yuan"`
}

// fen reads an amount as hundredths of a yuan.
func (p CallPrice) fen() (int64, error) {
	v, err := algebra.ParseDecimal(p.Yuan, 2)
	if err != nil || v < 0 || v > 1e11 {
		return 0, texts.Errorf("price of licence %q is not an amount of yuan such as 12.50", safeName(p.Licence))
	}
	return v, nil
}

type priceKey struct{ operator, licence, product string }

// priceAt is a price from an instant on. Lists of them only grow, so that a
// statement over a past period finds the prices of that time.
type priceAt struct {
	from time.Time
	fen  int64
	none bool // from here on there is no price
}

func (b *Book) putPriceCeiling(c PriceCeiling, a act) error {
	if !a.signers[b.root] {
		return texts.Errorf("signature of the regulator %q is missing", b.root)
	}
	if c.Basis == "" {
		return texts.Errorf("basis is missing: a ceiling names the document that fixed it")
	}
	prices, err := b.checkPrices(c.Operator, c.Prices)
	if err != nil {
		return err
	}
	b.ceilings = replaced(b.ceilings, c.Operator, prices, a.at)
	return nil
}

func (b *Book) putTariff(t Tariff, a act) error {
	if !a.signers[t.Operator] {
		return texts.Errorf("signature of operator %q is missing", safeName(t.Operator))
	}
	prices, err := b.checkPrices(t.Operator, t.Prices)
	if err != nil {
		return err
	}
	for key, fen := range prices {
		most, ok := b.ceilingOf(key, a.at)
		if !ok {
			return texts.Errorf("licence %q, product %q has no price ceiling: nothing may be charged for it", key.licence, key.product)
		}
		if fen > most {
			return texts.Errorf("licence %q, product %q: the price is above its ceiling of %s yuan", key.licence, key.product, algebra.FormatDecimal(big.NewInt(most), 2))
		}
	}
	b.tariffs = replaced(b.tariffs, t.Operator, prices, a.at)
	return nil
}

func (b *Book) checkPrices(operator string, list []CallPrice) (map[priceKey]int64, error) {
	if p, ok := b.parties[operator]; !ok || p.Role != RoleOperator {
		return nil, texts.Errorf("operator %q is not in the registry", safeName(operator))
	}
	out := map[priceKey]int64{}
	for _, p := range list {
		if l, ok := b.licences[p.Licence]; !ok || l.Operator != operator {
			return nil, texts.Errorf("operator %q holds no licence %q", operator, safeName(p.Licence))
		}
		if x, ok := b.products[p.Product]; p.Product != "" && (!ok || x.Licence != p.Licence) {
			return nil, texts.Errorf("licence %q has no product %q", p.Licence, safeName(p.Product))
		}
		key := priceKey{operator, p.Licence, p.Product}
		if _, dup := out[key]; dup {
			return nil, texts.Errorf("licence %q, product %q stands twice", p.Licence, p.Product)
		}
		fen, err := p.fen()
		if err != nil {
			return nil, err
		}
		out[key] = fen
	}
	return out, nil
}

// replaced puts an operator's list in the place of the one before.
func replaced(all map[priceKey][]priceAt, operator string, prices map[priceKey]int64, at time.Time) map[priceKey][]priceAt {
	next := map[priceKey][]priceAt{}
	maps.Copy(next, all)
	for key, list := range next {
		if _, still := prices[key]; key.operator == operator && !still {
			next[key] = append(slices.Clone(list), priceAt{from: at, none: true})
		}
	}
	for key, fen := range prices {
		next[key] = append(slices.Clone(next[key]), priceAt{from: at, fen: fen})
	}
	return next
}

// priceOf is the price in force at an instant, of the product itself or of its
// licence.
func priceOf(all map[priceKey][]priceAt, key priceKey, at time.Time) (fen int64, ok bool) {
	list := all[key]
	for i := len(list) - 1; i >= 0; i-- {
		if !list[i].from.After(at) {
			if !list[i].none {
				return list[i].fen, true
			}
			break
		}
	}
	if key.product == "" {
		return 0, false
	}
	key.product = ""
	return priceOf(all, key, at)
}

func (b *Book) ceilingOf(key priceKey, at time.Time) (int64, bool) {
	return priceOf(b.ceilings, key, at)
}

// Charge is what one answered call costs whoever bought it, in hundredths of a
// yuan, and whether the operator's own price had to be cut to a ceiling that was
// lowered after it. Calls for governance and welfare are free (65号).
func (b *Book) Charge(operator, licence, product, purpose string, at time.Time) (fen int64, cut bool) {
	if b.purposes[purpose].Fee != FeeIndustry {
		return 0, false
	}
	key := priceKey{operator, licence, product}
	fen, ok := priceOf(b.tariffs, key, at)
	if !ok {
		return 0, false
	}
	most, ok := b.ceilingOf(key, at)
	if !ok {
		return 0, fen > 0
	}
	return min(fen, most), fen > most
}
