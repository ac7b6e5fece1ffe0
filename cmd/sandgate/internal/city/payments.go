package city

import "time"

// socialInsurance is written month by month, as the register books it: employees
// every month, the flexibly employed every quarter, residents once a year.
func (g *City) socialInsurance(r *rows) {
	for m := time.January; m <= time.December; m++ {
		month := dayOf(2025, m, 1)
		for i := range g.people {
			p := &g.people[i]
			base, rate, scheme := p.wage, int64(24), "employee"
			switch {
			case p.status == employed && r.chance(9750):
			case p.status == flexible && m%3 == 0 && r.chance(9200):
				base, rate, scheme = 4000_00+p.wage/10, 20, "flexible"
			case p.status == resident && m == time.March && r.chance(8800):
				base, rate, scheme = 500_00*(1+p.wage/4000_00), 100, "resident"
			default:
				continue
			}
			if m >= time.July && scheme == "employee" {
				base = base * 104 / 100
			}
			if !r.begin() {
				return
			}
			r.id(p.id)
			r.date(month)
			r.word(scheme)
			r.amount(base)
			if r.chance(120) {
				r.empty()
			} else {
				r.cents(base * rate / 100)
			}
			g.workplace(r, p)
			r.end()
		}
	}
}

// workplace writes employer, district and industry; only employees have the first
// and last.
func (g *City) workplace(r *rows, p *person) {
	if p.employer < 0 {
		r.empty()
		r.district(int(p.district))
		r.empty()
		return
	}
	f := &g.firms[p.employer]
	if r.chance(100) {
		r.empty()
	} else {
		r.word(f.code)
	}
	r.district(int(f.district))
	switch {
	case r.chance(90):
		r.empty()
	case r.chance(40):
		r.word("Z")
	default:
		r.word(industries[f.industry].letter)
	}
}

// housingFund holds July to December; two in three employees take part, and a few
// have a second account for a while.
func (g *City) housingFund(r *rows) {
	member := make([]bool, len(g.people))
	for i := range member {
		p := &g.people[i]
		member[i] = p.status == employed && p.wage > 2600_00 && r.chance(7400)
	}
	for m := time.July; m <= time.December; m++ {
		month := dayOf(2025, m, 1)
		for i, in := range member {
			if !in || !r.chance(9850) {
				continue
			}
			p := &g.people[i]
			accounts := 1
			if i%83 == 0 && m >= time.October {
				accounts = 2
			}
			for range accounts {
				if !r.begin() {
					return
				}
				deposit := p.wage * (10 + int64(i%3)*7) / 100
				r.id(p.id)
				r.date(month)
				r.amount(deposit)
				if r.chance(150) {
					r.empty()
				} else {
					r.cents(deposit * (3 + int64(p.age-18)%40 + int64(m)))
				}
				r.district(int(g.firms[p.employer].district))
				r.end()
			}
		}
	}
}
