// Hostile is a worker program whose jobs do what a worker that an operator has
// taken over might do: a query's text literal names the misdeed. Tests build it
// and give it to a gateway in place of its own workers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/sandbox"
)

// resultPipe is the descriptor that a worker's frames leave by.
const resultPipe = 4

var hoard [][]byte

func misbehave(_ context.Context, payload []byte, _ []*os.File, emit func([]byte) error) error {
	var job engine.ExecuteJob
	if err := json.Unmarshal(payload, &job); err != nil {
		return err
	}
	does := func(what string) bool { return strings.Contains(job.SQL, "'"+what+"'") }
	switch {
	case does("spin"):
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		for n := 0; ; n++ {
			hoard = hoard[:0]
		}
	case does("allocate"):
		for {
			b := make([]byte, 16<<20)
			for i := range b {
				b[i] = byte(i)
			}
			hoard = append(hoard, b)
		}
	case does("fork"):
		for {
			_, _, _ = syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		}
	case does("stdout"):
		for {
			fmt.Println(strings.Repeat("flood", 1000))
			fmt.Fprintln(os.Stderr, strings.Repeat("flood", 1000))
		}
	case does("result"):
		for {
			if err := emit(make([]byte, 1<<16)); err != nil {
				return err
			}
		}
	case does("pipe"):
		garbage := []byte(strings.Repeat("\xff", 1<<16))
		for {
			_, _ = syscall.Write(resultPipe, garbage)
		}
	case does("signals"):
		signal.Ignore()
		select {}
	case does("crash"):
		panic("crash")
	case does("give up"):
		return errors.New("give up")
	}
	enc := engine.NewEncoder(job.Schema, emit)
	row := engine.Row{}
	for range job.Schema.Measures {
		row.M = append(row.M, big.NewInt(1000))
	}
	return errors.Join(enc.Add(row), enc.Flush())
}

// dawdle stands in for the analyser: a text takes a second or none.
func dawdle(_ context.Context, payload []byte, _ []*os.File, emit func([]byte) error) error {
	for strings.Contains(string(payload), "spin") {
		hoard = hoard[:0]
	}
	return emit([]byte("{}"))
}

func init() {
	sandbox.Register(engine.ExecuteHandler, misbehave)
	sandbox.Register(engine.AnalyseHandler, dawdle)
}

func main() { sandbox.Main() }
