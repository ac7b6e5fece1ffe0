package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/gateway/certificate"
)

// sampleUnits is how many units of a twin are drawn at a time: fewer, where one has many
// rows. It decides the row groups of the files, so that it follows from the twin alone
// and they are the same on every machine.
func sampleUnits(t *twin.Twin) int64 {
	return int64(max(1, min(1<<14, (1<<18)/max(1, len(t.Lengths)))))
}

// maxSampled bounds one file.
const maxSampled = 1 << 32

// unitColumn tells which rows are of one synthetic unit; no catalogue has a column of
// such a name.
const unitColumn = "_unit"

func (a *app) twinSampleCmd() *cobra.Command {
	var rows, units int64
	var seed, out, format, file, related, trust, dir string
	c := &cobra.Command{
		Use:   "sample DATASET|TWIN|DATASET+DATASET | sample --file FILE --trust TRUST",
		Short: "在本机从孪生抽取任意多行：免费、可重复、可离线 · draw any number of rows of a twin on this machine: free, repeatable, offline",
		Long: `先核验孪生的合格证，再在本机抽取：不花预算，不经网关。同一孪生、同一 --seed、同样多的行，文件逐字节相同。
以 DATASET+DATASET 或 --relations 抽取相系的各表：--out 为目录，每表一个文件，_unit 相同即同一单元，--units 计至少在一表中有行者。
列 _unit 标明哪些行同属一个合成单元。Parquet 与 Arrow 在元数据中标明合成（sandgate.synthetic）；CSV 旁另写 FILE-metadata.json（W3C CSVW）。
The twin's certificate is verified first; rows are drawn on this machine, at no cost and without the gateway. The same twin, --seed and
size give the same file, byte for byte. Column _unit tells which rows are of one synthetic unit. Parquet and Arrow say in their metadata
that they are synthetic (sandgate.synthetic); beside a CSV file stands FILE-metadata.json (W3C CSVW). DATASET+DATASET, or --relations,
draws tables that are tied: --out is a directory with a file for each, the same _unit is the same unit in all, and --units counts those
with a row in any.`,
		Example: `  sandgate twin sample social_insurance --rows 100000 --seed 1 --out rows.parquet --kit ./kits/alpha
  sandgate twin sample --file social_insurance.twin --trust trust.json --units 5000 --out rows.csv
  sandgate twin sample --relations city.relations --trust trust.json --units 5000 --format parquet --out ./tables`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 && (file != "" || related != "") || len(args) == 0 && (file == "") == (related == "") {
				return usageError{texts.Errorf("name a data set or a twin, or give --file")}
			}
			if related != "" || len(args) == 1 && isRelated(args[0]) {
				if c.Flags().Changed("rows") || !c.Flags().Changed("units") {
					units = rows
				}
				if c.Flags().Changed("rows") || units < 1 || units > maxSampled {
					return usageError{texts.Errorf("tables that are tied are drawn by --units, from 1 to %d", int64(maxSampled))}
				}
				return a.sampleTied(c.Context(), tiedSample{args: args, file: related, trust: trust, ledger: dir, seed: seed, format: format, out: out, units: units})
			}
			if c.Flags().Changed("units") && c.Flags().Changed("rows") || rows < 1 || units < 0 || rows > maxSampled || units > maxSampled || c.Flags().Changed("units") && units == 0 {
				return usageError{texts.Errorf("give --rows or --units, from 1 to %d", int64(maxSampled))}
			}
			kind, err := sampleFormat(format, out)
			if err != nil {
				return err
			}
			var x *certificate.Twin
			var t *twin.Twin
			if file != "" {
				x, t, err = a.openTwinFile(c.Context(), file, trust, dir)
			} else {
				var document []byte
				if _, document, x, err = a.fetchTwin(c.Context(), args[0]); err == nil {
					t, err = x.Document(document)
				}
			}
			var broken *brokenTwin
			if errors.As(err, &broken) {
				a.note("孪生文件不成立: %s", "the twin's file does not hold: %s", a.said(broken.error))
				return &silentError{exitAuditFailed}
			}
			if err != nil {
				return err
			}
			d := &drawing{twin: t, certificate: x, seed: seed, rows: rows}
			if c.Flags().Changed("units") {
				d.units, d.rows = units, 0
			}
			n, err := a.sample(d, kind, out)
			if err != nil {
				return err
			}
			a.note("合成数据 %d 行，取自孪生 %s（种子 %s）：没有一行属于任何人", "%d synthetic rows of twin %s (seed %s): not one that is anyone's", n, x.Twin, seed)
			return nil
		},
	}
	f := c.Flags()
	f.Int64Var(&rows, "rows", 1000, "行数 rows")
	f.Int64Var(&units, "units", 0, "改以单元计，取其全部行 · units instead, with all their rows")
	f.StringVar(&seed, "seed", "1", "种子，任意文本 seed, any text")
	f.StringVar(&out, "out", "", "输出文件，默认标准输出（CSV） · output file, standard output (CSV) by default")
	f.StringVar(&format, "format", "", "csv、parquet 或 arrow，默认按文件名 · by the file's name by default")
	f.StringVar(&file, "file", "", "离线：twin download 得到的文件 · offline: the file of twin download")
	f.StringVar(&related, "relations", "", "离线：跨表关系的文件，抽取其各表 · offline: the file of relations, all tables of which are drawn")
	f.StringVar(&trust, "trust", "", "信任文件 trust.json from the regulator's kit")
	f.StringVar(&dir, "ledger", "", "账本副本目录 directory of a copied ledger")
	return c
}

func sampleFormat(format, out string) (string, error) {
	if format == "" {
		switch ext := strings.ToLower(filepath.Ext(out)); ext {
		case "", ".csv":
			format = "csv"
		case ".parquet", ".arrow":
			format = ext[1:]
		}
	}
	switch format {
	case "csv":
		return format, nil
	case "parquet", "arrow":
		if out == "" {
			return "", usageError{texts.Errorf("a %s file needs --out", format)}
		}
		return format, nil
	}
	return "", usageError{texts.Errorf("unknown format; known: csv, parquet, arrow (--format)")}
}

// drawing is what is drawn of a twin.
type drawing struct {
	twin        *twin.Twin
	certificate *certificate.Twin
	seed        string
	rows, units int64 // one is 0
	// tied draws a table of relations in the place of the twin alone; nil for that.
	tied *tiedTable
}

// marks say of a file that it is synthetic, and where it is from.
func (d *drawing) marks() (names, values []string) {
	put := func(name, value string) { names, values = append(names, name), append(values, value) }
	put("sandgate.synthetic", "true")
	put("sandgate.notice", "合成数据，取自合成孪生，没有一行属于任何人 · synthetic rows of a synthetic twin: not one that is anyone's")
	put("sandgate.dataset", d.twin.Dataset)
	put("sandgate.twin", d.certificate.Twin)
	put("sandgate.document", d.certificate.Outcome.Document)
	put("sandgate.seed", d.seed)
	put("sandgate.entry", strconv.FormatUint(d.certificate.Seq, 10)+" "+d.certificate.Origin)
	if d.tied != nil {
		put("sandgate.relations", d.tied.certificate.Relations)
		put("sandgate.relations_document", d.tied.certificate.Outcome.Document)
	}
	return names, values
}

// rowSink takes rows as they are drawn.
type rowSink interface {
	// write takes rows with the number of each one's unit.
	write(numbers []int64, rows twin.Rows) error
	close() error
}

// sample draws into a file, or to standard output, and returns the number of rows.
func (a *app) sample(d *drawing, kind, out string) (n int64, err error) {
	s, err := d.source()
	if err != nil {
		return 0, err
	}
	if out == "" {
		return d.draw(s, newCSVRows(a.out, s.names, d.twin))
	}
	f, err := os.Create(out)
	if err != nil {
		return 0, texts.Errorf("failed to create file: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	var sink rowSink
	if kind == "csv" {
		sink = newCSVRows(w, s.names, d.twin)
	} else {
		sink, err = newArrowRows(w, kind, s.names, d)
	}
	if err == nil {
		n, err = d.draw(s, sink)
	}
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		return n, texts.Errorf("failed to write the sample: %w", err)
	}
	if kind == "csv" {
		err = d.describe(out)
	}
	return n, err
}

// rowSource draws units, with the number of each row's.
type rowSource struct {
	names []string
	rows  func(from uint64, units int) (twin.Rows, []int64, error)
}

func (d *drawing) source() (rowSource, error) {
	if d.tied != nil {
		return d.tied.source(), nil
	}
	s, err := d.twin.Sampler([]byte(d.seed))
	if err != nil {
		return rowSource{}, err
	}
	return rowSource{s.Names(), func(from uint64, units int) (twin.Rows, []int64, error) {
		rows, err := s.Rows(from, units)
		return rows, numbers(int64(from), rows), err
	}}, nil
}

// draw draws part by part, the last cut to the rows that were asked.
func (d *drawing) draw(s rowSource, sink rowSink) (n int64, err error) {
	step := sampleUnits(d.twin)
	for from := int64(0); d.units > 0 && from < d.units || d.units == 0 && n < d.rows; from += step {
		part := step
		if d.units > 0 {
			part = min(part, d.units-from)
		} else {
			part = min(part, d.rows-n) // a unit has a row at least
		}
		rows, units, err := s.rows(uint64(from), int(part))
		if err != nil {
			return n, errors.Join(err, sink.close())
		}
		if d.units == 0 {
			rows = cutRows(rows, d.rows-n)
		}
		if err := sink.write(units[:len(rows.Units)], rows); err != nil {
			return n, errors.Join(err, sink.close())
		}
		n += int64(len(rows.Units))
	}
	return n, sink.close()
}

// cutRows keeps the first rows.
func cutRows(rows twin.Rows, most int64) twin.Rows {
	if int64(len(rows.Units)) <= most {
		return rows
	}
	rows.Units, rows.Ranks = rows.Units[:most], rows.Ranks[:most]
	for i := range rows.Columns {
		c := &rows.Columns[i]
		if c.Null != nil {
			c.Null = c.Null[:most]
		}
		if c.Texts != nil {
			c.Texts = c.Texts[:most]
		}
		if c.Ints != nil {
			c.Ints = c.Ints[:most]
		}
	}
	return rows
}

// numbers gives each row the number of its unit, from the first on.
func numbers(first int64, rows twin.Rows) []int64 {
	out := make([]int64, len(rows.Units))
	for i := range out {
		if i > 0 && rows.Units[i] != rows.Units[i-1] {
			first++
		}
		out[i] = first
	}
	return out
}

// csvRows spells rows as an ingest reads them.
type csvRows struct {
	w      *csv.Writer
	header []string
	types  []twin.Column // of the learned columns; the others are text
}

func newCSVRows(w io.Writer, names []string, t *twin.Twin) *csvRows {
	return &csvRows{w: csv.NewWriter(w), header: append([]string{unitColumn}, names...), types: t.Columns}
}

func (s *csvRows) write(numbers []int64, rows twin.Rows) error {
	if s.header != nil {
		if err := s.w.Write(s.header); err != nil {
			return err
		}
		s.header = nil
	}
	record := make([]string, 1+len(rows.Columns))
	for r, unit := range numbers {
		record[0] = itoa(unit)
		for i, c := range rows.Columns {
			record[i+1] = s.spell(i, c, r)
		}
		if err := s.w.Write(record); err != nil {
			return err
		}
	}
	return nil
}

func (s *csvRows) spell(i int, c model.Column, r int) string {
	if c.Null != nil && c.Null[r] {
		return ""
	}
	if i >= len(s.types) || s.types[i].Type == algebra.Text {
		return c.Texts[r]
	}
	v := c.Ints[r]
	switch s.types[i].Type {
	case algebra.Decimal:
		return algebra.FormatDecimal(big.NewInt(v), uint8(s.types[i].Scale))
	case algebra.Date:
		return algebra.FormatDate(v)
	case algebra.Bool:
		return strconv.FormatBool(v != 0)
	}
	return itoa(v)
}

func (s *csvRows) close() error {
	s.w.Flush()
	return s.w.Error()
}

// describe writes the mark of a CSV file beside it, where CSV on the Web (W3C, 2015)
// looks for it: the rows themselves stay as they are read.
func (d *drawing) describe(out string) error {
	names, values := d.marks()
	notes := map[string]string{}
	for i, n := range names {
		notes[strings.Replace(n, ".", ":", 1)] = values[i]
	}
	text, err := json.MarshalIndent(struct {
		Context string              `json:"@context"`
		URL     string              `json:"url"`
		Notes   []map[string]string `json:"notes"`
	}{"http://www.w3.org/ns/csvw", filepath.Base(out), []map[string]string{notes}}, "", "  ")
	if err == nil {
		err = os.WriteFile(out+"-metadata.json", append(text, '\n'), 0o600)
	}
	if err != nil {
		return texts.Errorf("failed to write the sample: %w", err)
	}
	return nil
}

// arrowRows writes rows as Arrow or Parquet.
type arrowRows struct {
	schema *arrow.Schema
	types  []twin.Column
	sink   interface {
		Write(arrow.RecordBatch) error
		Close() error
	}
}

func newArrowRows(w io.Writer, kind string, names []string, d *drawing) (*arrowRows, error) {
	s := &arrowRows{types: d.twin.Columns}
	fields := []arrow.Field{{Name: unitColumn, Type: arrow.PrimitiveTypes.Int64}}
	for i, name := range names {
		f := arrow.Field{Name: name, Type: arrow.BinaryTypes.String}
		if i < len(s.types) {
			f.Type, f.Nullable = arrowType(s.types[i]), s.types[i].Nullable
		}
		fields = append(fields, f)
	}
	marks := arrow.NewMetadata(d.marks())
	s.schema = arrow.NewSchema(fields, &marks)
	var err error
	if kind == "arrow" {
		s.sink, err = ipc.NewFileWriter(w, ipc.WithSchema(s.schema))
	} else {
		s.sink, err = pqarrow.NewFileWriter(s.schema, plainWriter{w}, parquet.NewWriterProperties(), pqarrow.NewArrowWriterProperties())
	}
	return s, err
}

// plainWriter hides that its writer could be closed: what writes Parquet closes what it
// is given.
type plainWriter struct{ io.Writer }

func arrowType(c twin.Column) arrow.DataType {
	switch c.Type {
	case algebra.Text:
		return arrow.BinaryTypes.String
	case algebra.Bool:
		return arrow.FixedWidthTypes.Boolean
	case algebra.Date:
		return arrow.FixedWidthTypes.Date32
	case algebra.Decimal:
		return &arrow.Decimal128Type{Precision: 18, Scale: int32(c.Scale)}
	}
	return arrow.PrimitiveTypes.Int64
}

func (s *arrowRows) write(numbers []int64, rows twin.Rows) error {
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues(numbers, nil)
	for i, c := range rows.Columns {
		appendColumn(b.Field(i+1), c, len(rows.Units))
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	return s.sink.Write(batch)
}

func (s *arrowRows) close() error { return s.sink.Close() }

// appendColumn fills a builder of arrowType.
func appendColumn(to array.Builder, c model.Column, rows int) {
	to.Reserve(rows)
	for r := range rows {
		if c.Null != nil && c.Null[r] {
			to.AppendNull()
			continue
		}
		switch b := to.(type) {
		case *array.StringBuilder:
			b.Append(c.Texts[r])
		case *array.BooleanBuilder:
			b.Append(c.Ints[r] != 0)
		case *array.Date32Builder:
			b.Append(arrow.Date32(c.Ints[r]))
		case *array.Decimal128Builder:
			b.Append(decimal128.FromI64(c.Ints[r]))
		case *array.Int64Builder:
			b.Append(c.Ints[r])
		}
	}
}
