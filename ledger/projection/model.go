package projection

import (
	"strconv"

	"github.com/sandgate/sandgate/ledger/state"
)

func (p *Projector) model(id string, m state.Model) error {
	q := m.Request
	cells := []*string{word(id), word(m.Operator), word(q.Request), word(q.Licence), word(q.Purpose), word(q.Product), word(string(m.Phase)), nil, nil, nil,
		unsigned(m.Seq), integer(m.At), nil, nil, nil, nil, nil, integer(m.Scored)}
	if m.Reserved != nil {
		cells[8], cells[9] = word(m.Reserved.Snapshot), integer(int64(m.Reserved.Price))
	}
	if m.FinishSeq != 0 {
		cells[12], cells[13] = unsigned(m.FinishSeq), integer(m.FinishAt)
	}
	if m.Failed != nil {
		cells[14], cells[15] = word(m.Failed.Code), word(m.Failed.Rule)
	}
	if m.Certified != nil {
		cells[7], cells[16] = word(string(m.Certified.Certificate.Verdict)), word(m.Certified.Parameters)
	}
	if err := p.row(tableModels, cells); err != nil {
		return err
	}
	for _, r := range m.Reasons {
		if err := p.row(tableReasons, []*string{word(id), unsigned(m.Seq), integer(m.At), word(m.Operator), word(r.Code), word(r.Rule), word(r.SetBy), word(r.ZH), word(r.EN)}); err != nil {
			return err
		}
	}
	if m.Certified == nil {
		return nil
	}
	for _, f := range m.Certified.Certificate.Figures {
		if err := p.row(tableModelFigures, []*string{word(id), word(string(f.Attack)), integer(f.Value), integer(f.Low), integer(f.High), integer(f.Bound), word(string(f.Held)), word(strconv.FormatBool(f.Pass()))}); err != nil {
			return err
		}
	}
	return nil
}
