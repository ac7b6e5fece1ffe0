package duckdb

import (
	"bytes"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/sandgate/sandgate/compute/engine"
)

// postKinds are the types an answer may have and the kind each is shown as.
var postKinds = map[duck.Type]string{
	duck.TYPE_BOOLEAN: "bool",
	duck.TYPE_TINYINT: "int", duck.TYPE_SMALLINT: "int", duck.TYPE_INTEGER: "int", duck.TYPE_BIGINT: "int",
	duck.TYPE_UTINYINT: "int", duck.TYPE_USMALLINT: "int", duck.TYPE_UINTEGER: "int", duck.TYPE_UBIGINT: "int",
	duck.TYPE_HUGEINT: "decimal", duck.TYPE_UHUGEINT: "decimal", duck.TYPE_DECIMAL: "decimal",
	duck.TYPE_FLOAT: "double", duck.TYPE_DOUBLE: "double", duck.TYPE_VARCHAR: "text", duck.TYPE_SQLNULL: "text",
	duck.TYPE_DATE: "date", duck.TYPE_TIMESTAMP: "timestamp", duck.TYPE_TIMESTAMP_S: "timestamp",
	duck.TYPE_TIMESTAMP_MS: "timestamp", duck.TYPE_TIMESTAMP_NS: "timestamp", duck.TYPE_TIMESTAMP_TZ: "timestamp",
}

// postText spells a value; nil is NULL.
func postText(kind string, v driver.Value) (*string, error) {
	var s string
	switch n := v.(type) {
	case nil:
		return nil, nil
	case bool:
		s = strconv.FormatBool(n)
	case string:
		s = strings.ToValidUTF8(n, "\uFFFD")
	case float32:
		s = strconv.FormatFloat(float64(n), 'g', -1, 32)
	case float64:
		s = strconv.FormatFloat(n, 'g', -1, 64)
	case time.Time:
		s = n.UTC().Format(time.DateOnly)
		if kind == "timestamp" {
			s = n.UTC().Format("2006-01-02 15:04:05.999999999")
		}
	case duck.Decimal:
		s = decimalText(n.Value, int(n.Scale))
	case uint16:
		s = strconv.FormatUint(uint64(n), 10)
	case uint8:
		s = strconv.FormatUint(uint64(n), 10)
	default:
		i, ok := integer(v)
		if !ok {
			return nil, errEngine
		}
		s = i.String()
	}
	return &s, nil
}

func decimalText(x *big.Int, scale int) string {
	s, sign := new(big.Int).Abs(x).String(), ""
	if x.Sign() < 0 {
		sign = "-"
	}
	if scale == 0 {
		return sign + s
	}
	if len(s) <= scale {
		s = strings.Repeat("0", scale-len(s)+1) + s
	}
	return sign + s[:len(s)-scale] + "." + s[len(s)-scale:]
}

var errSpelling = errors.New("statement is not read back as it was written")

// print turns a tree into the engine's text and reads that back: what runs must be
// what the operator wrote. places maps positions in the text to his own.
func (s *session) print(tree []byte) (text string, places map[int]int, err error) {
	if text, err = s.scalar("SELECT json_deserialize_sql($1::JSON)", string(tree)); err != nil {
		return "", nil, err
	}
	again, err := s.scalar("SELECT json_serialize_sql($1::VARCHAR)::VARCHAR", text)
	if err != nil {
		return "", nil, err
	}
	want, errWant := looseJSON(tree)
	got, errGot := looseJSON([]byte(again))
	places = map[int]int{}
	if errWant != nil || errGot != nil || !sameTree(want, got, places) {
		return "", nil, errSpelling
	}
	return text, places, nil
}

func looseJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// sameTree compares two trees but for the places of their nodes.
func sameTree(want, got any, places map[int]int) bool {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(w) != len(g) {
			return false
		}
		for field, v := range w {
			other, ok := g[field]
			if !ok {
				return false
			}
			if field == "query_location" {
				notePlace(v, other, places)
			} else if !sameTree(v, other, places) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		if !ok || len(w) != len(g) {
			return false
		}
		for i := range w {
			if !sameTree(w[i], g[i], places) {
				return false
			}
		}
		return true
	}
	return want == got
}

func notePlace(want, got any, places map[int]int) {
	w, okW := want.(json.Number)
	g, okG := got.(json.Number)
	if !okW || !okG {
		return
	}
	to, errTo := strconv.ParseInt(w.String(), 10, 32)
	from, errFrom := strconv.ParseInt(g.String(), 10, 32)
	if errTo == nil && errFrom == nil {
		places[int(from)] = int(to)
	}
}

// maxPostMessage bounds the engine's words in characters.
const maxPostMessage = 400

// What is struck out of the engine's words: paths, which would be the machine's,
// and quoted literals. Those are the operator's own, but an identity number that
// he typed must not stand in an error that somebody's program keeps.
var (
	pathPattern    = regexp.MustCompile(`/[^\s'"]+/[^\s'"]*`)
	literalPattern = regexp.MustCompile(`'(?:[^']|'')*'`)
)

// postError makes an answer of an engine error.
func postError(err error, places map[int]int) *engine.PostError {
	out := &engine.PostError{Code: engine.PostSQL, Offset: -1}
	var known *duck.Error
	switch {
	case errors.Is(err, errSpelling):
		out.Message = "spelling"
		return out
	case !errors.As(err, &known):
		return out
	}
	message := known.Msg
	var fields struct {
		Type     string `json:"exception_type"`
		Message  string `json:"exception_message"`
		Position string `json:"position"`
	}
	if i := strings.IndexByte(message, '{'); i >= 0 && json.Unmarshal([]byte(message[i:]), &fields) == nil && fields.Message != "" {
		message = fields.Message
		if p, err := strconv.Atoi(fields.Position); err == nil {
			if to, ok := places[p]; ok {
				out.Offset = to
			}
		}
	}
	if strings.Contains(fields.Type, "Out of Memory") || strings.Contains(known.Msg, "Out of Memory") {
		out.Code = engine.PostLimit
		return out
	}
	message, _, _ = strings.Cut(message, "\nLINE ")
	message = literalPattern.ReplaceAllString(strings.ToValidUTF8(message, ""), "'…'")
	message = pathPattern.ReplaceAllString(message, "…")
	if utf8.RuneCountInString(message) > maxPostMessage {
		message = string([]rune(message)[:maxPostMessage]) + "…"
	}
	out.Message = strings.Join(strings.Fields(message), " ")
	return out
}
