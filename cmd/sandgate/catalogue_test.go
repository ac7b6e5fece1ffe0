package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/xuri/excelize/v2"
)

// cmdCells fills cells of a workbook as an official does. A line of SPEC is
// "TABLE ROW HEADING = TEXT", with the English halves of table and heading, ":="
// for a formula and "#=" for a number.
func cmdCells(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "cells FROM.xlsx TO.xlsx SPEC", 3, 3)
	f, err := excelize.OpenFile(ts.MkAbs(a[0]))
	ts.Check(err)
	defer f.Close()
	for _, l := range strings.Split(strings.TrimSpace(ts.ReadFile(a[2])), "\n") {
		if l == "" {
			continue
		}
		place, text, ok := strings.Cut(l, " = ")
		set := func(sheet, cell string) error { return f.SetCellStr(sheet, cell, text) }
		if p, s, is := strings.Cut(l, " := "); !ok && is {
			place, text, ok = p, s, true
			set = func(sheet, cell string) error { return f.SetCellFormula(sheet, cell, text) }
		}
		if p, s, is := strings.Cut(l, " #= "); !ok && is {
			place, text, ok = p, s, true
			set = func(sheet, cell string) error {
				n, err := strconv.Atoi(text)
				if err != nil {
					return err
				}
				return f.SetCellInt(sheet, cell, int64(n))
			}
		}
		words := strings.Fields(place)
		if !ok || len(words) != 3 {
			ts.Fatalf("not a line of cells: %s", l)
		}
		sheet, column, err := headed(f, words[0], words[2])
		ts.Check(err)
		ts.Check(set(sheet, column+words[1]))
	}
	ts.Check(f.SaveAs(ts.MkAbs(a[1])))
}

// headed finds a sheet and a column by the English halves of their names.
func headed(f *excelize.File, table, heading string) (sheet, column string, err error) {
	for _, s := range f.GetSheetList() {
		if !strings.HasSuffix(s, " "+table) {
			continue
		}
		rows, err := f.GetRows(s)
		if err != nil {
			return "", "", err
		}
		for i, h := range rows[0] {
			if strings.HasSuffix(h, " "+heading) {
				column, err := excelize.ColumnNumberToName(i + 1)
				return s, column, err
			}
		}
	}
	return "", "", fmt.Errorf("no %s in %s", heading, table)
}
