package main

import (
	"bufio"
	"encoding/csv"
	"io"
	"math"
	"strconv"

	"github.com/sandgate/sandgate/compute/wasm"
)

// tableRows is how many rows of scores a table shows.
const tableRows = 20

// scoreWriter writes scores as they come.
type scoreWriter interface {
	write(rows int, scores []wasm.Column) error
	close() error
}

// scoreNames are the headings: row, then score or score1, score2, …
func scoreNames(row string, outputs int) []string {
	names := []string{row}
	for i := range outputs {
		name := "score"
		if outputs > 1 {
			name += strconv.Itoa(i + 1)
		}
		names = append(names, name)
	}
	return names
}

func newScoreWriter(dst io.Writer, format, row string, outputs int) scoreWriter {
	switch format {
	case "json":
		return &jsonScores{w: bufio.NewWriterSize(dst, 1<<16), names: scoreNames("row", outputs)}
	case "csv":
		return &csvScores{w: csv.NewWriter(dst), header: scoreNames("row", outputs)}
	}
	return &tableScores{dst: dst, header: scoreNames(row, outputs)}
}

// scoreText spells a score; a missing one is empty.
func scoreText(c *wasm.Column, row int) string {
	if c.Valid != nil && !c.Valid[row] {
		return ""
	}
	if c.Type == wasm.Int64 {
		return strconv.FormatInt(c.Ints[row], 10)
	}
	return strconv.FormatFloat(c.Floats[row], 'g', -1, 64)
}

type csvScores struct {
	w      *csv.Writer
	header []string
	row    int64
}

func (s *csvScores) write(rows int, scores []wasm.Column) error {
	if s.row == 0 {
		if err := s.w.Write(s.header); err != nil {
			return err
		}
	}
	record := make([]string, len(s.header))
	for r := range rows {
		s.row++
		record[0] = itoa(s.row)
		for i := range scores {
			record[i+1] = scoreText(&scores[i], r)
		}
		if err := s.w.Write(record); err != nil {
			return err
		}
	}
	return nil
}

func (s *csvScores) close() error {
	if s.row == 0 {
		if err := s.w.Write(s.header); err != nil {
			return err
		}
	}
	s.w.Flush()
	return s.w.Error()
}

// jsonScores writes an array of objects. NaN and the infinities, which JSON has
// no number for, are strings.
type jsonScores struct {
	w     *bufio.Writer
	names []string
	row   int64
}

func (s *jsonScores) write(rows int, scores []wasm.Column) error {
	for r := range rows {
		lead := ",\n"
		if s.row == 0 {
			lead = "[\n"
		}
		s.row++
		line := []byte(lead + `  {"row": ` + itoa(s.row))
		for i := range scores {
			line = append(line, `, "`+s.names[i+1]+`": `...)
			text := scoreText(&scores[i], r)
			switch {
			case text == "":
				text = "null"
			case scores[i].Type == wasm.Float64 && (math.IsNaN(scores[i].Floats[r]) || math.IsInf(scores[i].Floats[r], 0)):
				text = `"` + text + `"`
			}
			line = append(line, text...)
		}
		if _, err := s.w.Write(append(line, '}')); err != nil {
			return err
		}
	}
	return nil
}

func (s *jsonScores) close() error {
	end := "\n]\n"
	if s.row == 0 {
		end = "[]\n"
	}
	if _, err := s.w.WriteString(end); err != nil {
		return err
	}
	return s.w.Flush()
}

type tableScores struct {
	dst    io.Writer
	header []string
	body   [][]string
	row    int64
}

func (s *tableScores) write(rows int, scores []wasm.Column) error {
	for r := range rows {
		s.row++
		if len(s.body) >= tableRows {
			continue
		}
		line := []string{itoa(s.row)}
		for i := range scores {
			line = append(line, scoreText(&scores[i], r))
		}
		s.body = append(s.body, line)
	}
	return nil
}

func (s *tableScores) close() error {
	if s.row > int64(len(s.body)) {
		more := make([]string, len(s.header))
		for i := range more {
			more[i] = "…"
		}
		s.body = append(s.body, more)
	}
	right := make([]int, len(s.header))
	for i := range right {
		right[i] = i
	}
	printTable(s.dst, s.header, s.body, right...)
	return nil
}
