package duckdb

import (
	"fmt"
	"io"
	"os"
	"strconv"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/sandgate/sandgate/compute/engine"
)

// consentColumn is how a snapshot stores whose consent its rows need, and a list who
// gave it.
const consentColumn = "_consent UUID"

// consentTable makes the list of data set i's consenting subjects, empty; one that
// was made before stays.
func consentTable(i int) []string {
	name := "g" + strconv.Itoa(i)
	return []string{"ATTACH IF NOT EXISTS ':memory:' AS " + name, "CREATE TABLE IF NOT EXISTS " + name + ".main.t (" + consentColumn + ")"}
}

// consents reads the list of data set i's consenting subjects into memory, where
// the statement finds it. An empty list is one: the answer is then over no units.
func (s *session) consents(i int, list *os.File) error {
	if err := s.exec(consentTable(i)...); err != nil {
		return err
	}
	a, err := duck.NewAppender(s.conn, "g"+strconv.Itoa(i), "main", "t")
	if err != nil {
		return err
	}
	buf := make([]byte, 4096*engine.SubjectBytes)
	for at := int64(0); ; {
		n, err := list.ReadAt(buf, at)
		if err != nil && err != io.EOF || n%engine.SubjectBytes != 0 {
			return fmt.Errorf("%w: list of consents", errEngine)
		}
		for ; n > 0; n -= engine.SubjectBytes {
			if err := a.AppendRow(duck.UUID(buf[n-engine.SubjectBytes : n])); err != nil {
				return err
			}
			at += engine.SubjectBytes
		}
		if err == io.EOF {
			return a.Close()
		}
	}
}
