package city

import (
	"io"
	"strconv"
	"strings"
	"time"
)

// flaw says what is wrong with a row on purpose. One row in badEvery has one, by
// its position and not by chance, so that a file of any length stays below the
// catalogue's limit of 0.5 %.
type flaw uint8

const (
	sound      flaw = iota
	wrongCheck      // check character of the unit's identifier
	truncated       // identifier lacks its last character
	unreadable      // an amount or a date is no amount or date
	lowerCase       // a final X of the identifier is spelled x
)

const badEvery = 997

// rows formats CSV rows into a buffer and hands full buffers to w.
type rows struct {
	*draws
	w    io.Writer
	b    []byte
	n    int // rows begun
	err  error
	flaw flaw // of the row being written
}

func newRows(w io.Writer, header []string, d *draws) *rows {
	r := &rows{draws: d, w: w, b: make([]byte, 0, 72<<10)}
	r.b = append(r.b, strings.Join(header, ",")...)
	r.b = append(r.b, '\n')
	return r
}

// begin starts a row and returns false when writing has failed, so that a broken
// pipe ends a long table.
func (r *rows) begin() bool {
	r.flaw = sound
	if r.n%badEvery == badEvery/2 {
		r.flaw = flaw(1 + r.n/badEvery%4)
	}
	r.n++
	return r.err == nil
}

// end replaces the comma behind the last field and drains a full buffer.
func (r *rows) end() {
	r.b[len(r.b)-1] = '\n'
	if len(r.b) >= 64<<10 {
		r.drain()
	}
}

func (r *rows) drain() {
	if r.err == nil {
		_, r.err = r.w.Write(r.b)
	}
	r.b = r.b[:0]
}

func (r *rows) flush() error {
	r.drain()
	return r.err
}

// word writes a field that needs no quotes.
func (r *rows) word(s string) {
	r.b = append(r.b, s...)
	r.b = append(r.b, ',')
}

// empty writes a missing value.
func (r *rows) empty() { r.b = append(r.b, ',') }

// quoted writes a field that may hold a comma or a quotation mark.
func (r *rows) quoted(s string) {
	if strings.ContainsAny(s, "\",\n") {
		s = `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	r.word(s)
}

// id writes the unit's identifier, spoilt when the row's flaw asks for it.
func (r *rows) id(s string) {
	last := len(s) - 1
	switch {
	case r.flaw == truncated:
		r.word(s[:last])
	case r.flaw == lowerCase && s[last] == 'X':
		r.word(s[:last] + "x")
	case r.flaw == wrongCheck || r.flaw == lowerCase:
		c := "0"
		if s[last] == '0' {
			c = "1"
		}
		r.word(s[:last] + c)
	default:
		r.word(s)
	}
}

func (r *rows) int(v int64) {
	r.b = strconv.AppendInt(r.b, v, 10)
	r.b = append(r.b, ',')
}

// cents writes v hundredths with two decimals.
func (r *rows) cents(v int64) {
	r.b = strconv.AppendInt(r.b, v/100, 10)
	r.b = append(r.b, '.', byte('0'+v/10%10), byte('0'+v%10), ',')
}

// amount writes a yuan amount given in 分. Now and then it is a hundred times too
// large, as when a clerk enters 分 for 元.
func (r *rows) amount(v int64) {
	switch {
	case r.flaw == unreadable:
		r.word("待核")
	case r.chance(15):
		r.cents(v * 100)
	default:
		r.cents(v)
	}
}

// date writes days since 1970-01-01 as 2006-01-02.
func (r *rows) date(day int) {
	y, m, d := time.Unix(int64(day)*86400, 0).UTC().Date()
	r.b = strconv.AppendInt(r.b, int64(y), 10)
	r.b = append(r.b, '-', byte('0'+m/10), byte('0'+m%10), '-', byte('0'+d/10), byte('0'+d%10), ',')
}

// spoilableDate is date in tables without an amount that a clerk can spoil.
func (r *rows) spoilableDate(day int) {
	if r.flaw == unreadable {
		r.word("0000-00-00")
		return
	}
	r.date(day)
}

// district writes a district code, or now and then one that is not on the list.
func (r *rows) district(i int) {
	if r.chance(30) {
		r.word("239988")
		return
	}
	r.word(districts[i].code)
}

// dayOf returns days since 1970-01-01.
func dayOf(y int, m time.Month, d int) int {
	return int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}
