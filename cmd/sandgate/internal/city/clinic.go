package city

import "time"

// chapters are those of ICD-10 by code range, with their share of visits, the
// typical fee in 元 and the codes that lead each. Age shifts visits towards the
// chapters marked old.
var chapters = []struct {
	code   string
	weight int
	fee    int64
	old    bool
	letter byte
	head   []string
}{
	{"A00-B99", 35, 180, false, 'A', []string{"A09.9", "B02.9", "B18.1"}},
	{"C00-D48", 30, 2600, true, 'C', []string{"C34.9", "C50.9", "C18.9", "D12.6"}},
	{"D50-D89", 8, 420, false, 'D', []string{"D50.9", "D64.9"}},
	{"E00-E90", 85, 310, true, 'E', []string{"E11.9", "E78.5", "E04.1", "E11.7"}},
	{"F00-F99", 22, 380, false, 'F', []string{"F32.9", "F41.1", "F51.0"}},
	{"G00-G99", 28, 520, true, 'G', []string{"G45.9", "G47.0", "G40.9"}},
	{"H00-H59", 34, 260, true, 'H', []string{"H26.9", "H10.9", "H52.1"}},
	{"H60-H95", 16, 190, false, 'H', []string{"H66.9", "H91.2"}},
	{"I00-I99", 150, 640, true, 'I', []string{"I10", "I25.1", "I63.9", "I50.9", "I20.0"}},
	{"J00-J99", 170, 220, false, 'J', []string{"J06.9", "J20.9", "J18.9", "J44.1"}},
	{"K00-K93", 105, 330, false, 'K', []string{"K29.5", "K04.0", "K02.9", "K80.2"}},
	{"L00-L99", 40, 150, false, 'L', []string{"L30.9", "L50.9"}},
	{"M00-M99", 95, 290, true, 'M', []string{"M54.5", "M51.2", "M17.9"}},
	{"N00-N99", 62, 350, true, 'N', []string{"N40", "N18.9", "N76.0"}},
	{"O00-O99", 14, 1900, false, 'O', []string{"O80.9", "O82.9"}},
	{"P00-P96", 4, 1500, false, 'P', []string{"P59.9"}},
	{"Q00-Q99", 3, 900, false, 'Q', []string{"Q21.1"}},
	{"R00-R99", 48, 240, false, 'R', []string{"R05", "R10.4", "R51"}},
	{"S00-T98", 44, 760, false, 'S', []string{"S61.9", "S52.5", "S82.8"}},
	{"Z00-Z99", 60, 170, false, 'Z', []string{"Z00.0", "Z34.9", "Z51.1"}},
}

var hospitals = []string{"H01", "H02", "H03", "H04", "H05", "H06", "H07", "H08", "H09", "H10", "H11", "H12"}

var departments = []string{"internal", "surgery", "paediatrics", "obstetrics", "emergency", "oncology",
	"ophthalmology", "ent", "stomatology", "dermatology", "psychiatry", "orthopaedics", "tcm", "general"}

// detailCodes per chapter beyond its head: the long tail of rare diagnoses.
const detailCodes = 320

// detail returns the code of rank k in a chapter.
func detail(chapter, k int) string {
	c := &chapters[chapter]
	if k < len(c.head) {
		return c.head[k]
	}
	k = (k*37 + 11) % 1000 // 37 and 1000 have no common factor: ranks stay apart
	return string([]byte{c.letter, byte('0' + k/100), byte('0' + k/10%10), '.', byte('0' + k%10)})
}

// clinic holds what the visits table draws from.
type clinic struct {
	young, old, hospital, department, rank weighted
}

func newClinic() clinic {
	young, old := make([]int, len(chapters)), make([]int, len(chapters))
	for i, c := range chapters {
		young[i], old[i] = c.weight, c.weight
		if c.old {
			old[i] *= 4
		}
	}
	return clinic{newWeighted(young...), newWeighted(old...), newZipf(len(hospitals), 2),
		newZipf(len(departments), 4), newZipf(detailCodes, 1)}
}

// visits of 2025: a quarter of residents have none, a frail few have up to 40. A
// person tends to return with the same diagnosis.
func (g *City) visits(r *rows) {
	c := newClinic()
	first := dayOf(2025, time.January, 1)
	for i := range g.people {
		p := &g.people[i]
		n := int(p.frailty / 100)
		if r.below(100) < int(p.frailty%100) {
			n++
		}
		if r.chance(1500) {
			n = 0
		}
		mix := c.young
		if p.age >= 55 {
			mix = c.old
		}
		chapter, rank := mix.pick(r.draws), c.rank.pick(r.draws)
		for range min(n, 40) {
			if !r.begin() {
				return
			}
			if r.chance(4500) {
				chapter, rank = mix.pick(r.draws), c.rank.pick(r.draws)
			}
			g.visit(r, &c, p, first+r.below(365), chapter, rank)
		}
	}
}

func (g *City) visit(r *rows, c *clinic, p *person, day, chapter, rank int) {
	r.id(p.id)
	r.date(day)
	r.word(hospitals[c.hospital.pick(r.draws)])
	if r.chance(100) {
		r.empty()
	} else {
		r.word(departments[c.department.pick(r.draws)])
	}
	if r.chance(35) {
		r.word("U00-U99")
	} else {
		r.word(chapters[chapter].code)
	}
	if r.chance(250) {
		r.empty()
	} else {
		r.word(detail(chapter, rank))
	}
	fee := r.logNormal(chapters[chapter].fee*(100+int64(p.age)), 62_000) // 元·(100+age)% = 分
	r.amount(fee)
	if r.chance(1100) {
		r.empty()
	} else {
		r.cents(fee * int64(45+r.below(40)) / 100)
	}
	r.end()
}
