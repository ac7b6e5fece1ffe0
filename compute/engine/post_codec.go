package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// The post codec: a cell is its length plus one as a varint and its bytes, zero
// for NULL; a row is its cells one after the other. The number of columns is known
// to both sides before the first cell.

var errPostCodec = errors.New("post-processing values are malformed")

// AppendPostRow appends a row of text cells, nil for NULL.
func AppendPostRow(b []byte, row []*string) []byte {
	for _, c := range row {
		if c == nil {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(*c))+1)
		b = append(b, *c...)
	}
	return b
}

// readPostRow takes one row off the front of b.
func readPostRow(b []byte, columns int) ([]*string, []byte, error) {
	row := make([]*string, columns)
	for i := range row {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return nil, nil, errPostCodec
		}
		if b = b[size:]; n == 0 {
			continue
		}
		if n--; n > uint64(len(b)) || !utf8.Valid(b[:n]) {
			return nil, nil, errPostCodec
		}
		s := string(b[:n])
		row[i], b = &s, b[n:]
	}
	return row, b, nil
}

// decodePostRows reads a whole frame of at most limit rows.
func decodePostRows(b []byte, columns, limit int) ([][]*string, error) {
	var out [][]*string
	for len(b) > 0 {
		if columns == 0 || len(out) >= limit {
			return nil, errPostCodec
		}
		row, rest, err := readPostRow(b, columns)
		if err != nil {
			return nil, err
		}
		out, b = append(out, row), rest
	}
	return out, nil
}

func joinPost(head, cells []byte) []byte {
	out := binary.AppendUvarint(make([]byte, 0, len(head)+len(cells)+8), uint64(len(head)))
	return append(append(out, head...), cells...)
}

// ReadPostJob reads the payload of PostHandler, with the rows of every table.
func ReadPostJob(payload []byte) (PostJob, [][][]*string, error) {
	var job PostJob
	n, size := binary.Uvarint(payload)
	if size <= 0 || n > uint64(len(payload)-size) {
		return job, nil, errPostCodec
	}
	head, cells := payload[size:size+int(n)], payload[size+int(n):]
	if json.Unmarshal(head, &job) != nil {
		return job, nil, errPostCodec
	}
	var tables [][][]*string
	for _, t := range job.Tables {
		var rows [][]*string
		if t.Rows < 0 || t.Rows > 0 && len(t.Columns) == 0 {
			return job, nil, errPostCodec
		}
		for range t.Rows {
			row, rest, err := readPostRow(cells, len(t.Columns))
			if err != nil {
				return job, nil, err
			}
			rows, cells = append(rows, row), rest
		}
		tables = append(tables, rows)
	}
	if len(cells) > 0 {
		return job, nil, errPostCodec
	}
	return job, tables, nil
}
