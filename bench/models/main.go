// Command models is our side of the comparison with other packages (run.sh): it trains
// on a file's rows and hands the coded rows over, or trains and scores for a caller.
//
//	models real FILE.csv.gz DIR   our models of readmission, and their rows, into DIR
//	models fit                    a training from standard input to a parameter file
//	models score                  rows from standard input to scores
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/release"
)

func main() {
	err := fmt.Errorf("usage: models real FILE DIR | fit | score")
	switch {
	case len(os.Args) == 4 && os.Args[1] == "real":
		err = real(os.Args[2], os.Args[3])
	case len(os.Args) == 2 && os.Args[1] == "fit":
		err = fit(os.Stdin, os.Stdout)
	case len(os.Args) == 2 && os.Args[1] == "score":
		err = score(os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// train trains a design, with exact discrete Gaussian noise where it is private.
func train(d model.Design, rows *model.Data, seed uint64) (*model.Parameters, error) {
	oracle := model.Local(rows, d, nil)
	if d.Spec.Private {
		noise := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), 11})
		oracle = model.Noised(oracle, func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) {
			return release.Sums(sums, norm, rho, noise)
		})
	}
	return model.Train(context.Background(), d, oracle, nil)
}

// asked is what a caller sends: rows are, by feature, a number scaled to [-1, 1] or the
// index of a code.
type asked struct {
	Design model.Design `json:"design"`
	Rows   [][]float64  `json:"rows"`
	Label  []float32    `json:"label"`
	Seed   uint64       `json:"seed"`
	Model  string       `json:"model"` // the parameter file
}

func fit(in io.Reader, out io.Writer) error {
	var a asked
	if err := json.NewDecoder(in).Decode(&a); err != nil {
		return err
	}
	rows, err := coded(a.Design.Features, a.Rows)
	if err != nil {
		return err
	}
	rows.Label = a.Label
	p, err := train(a.Design, rows, a.Seed)
	if err != nil {
		return err
	}
	text, err := p.Encode()
	if err == nil {
		_, err = out.Write(text)
	}
	return err
}

func score(in io.Reader, out io.Writer) error {
	var a asked
	if err := json.NewDecoder(in).Decode(&a); err != nil {
		return err
	}
	p, err := model.Parse([]byte(a.Model + "\n"))
	if err != nil {
		return err
	}
	rows, err := coded(p.Features, a.Rows)
	if err != nil {
		return err
	}
	scores, err := scored(p, rows)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(scores)
}

func scored(p *model.Parameters, rows *model.Data) ([]float64, error) {
	s, err := p.Scorer()
	if err != nil {
		return nil, err
	}
	out := make([]float64, rows.Rows()*s.Width())
	s.Score(rows, out)
	return out, nil
}

// coded codes a caller's rows.
func coded(features []model.Feature, rows [][]float64) (*model.Data, error) {
	columns := make([]model.Column, len(features))
	for i, f := range features {
		c := &columns[i]
		for _, row := range rows {
			switch {
			case f.Kind == model.KindNumber:
				lo, hi := float64(f.Bounds[0]), float64(f.Bounds[1])
				c.Ints = append(c.Ints, int64(lo+(row[i]+1)/2*(hi-lo)+0.5))
			case f.Type == algebra.Text:
				c.Texts = append(c.Texts, f.Codes[int(row[i])])
			default:
				return nil, fmt.Errorf("column %s is of a type that is not compared", f.Column)
			}
		}
	}
	return model.EncodeRows(features, columns)
}
