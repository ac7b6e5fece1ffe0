package gateway

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/algebra"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

type catalogueService struct {
	sandgatev1.UnimplementedCatalogueServiceServer
	d *Domain
}

func (s *catalogueService) ListCatalogueEntries(ctx context.Context, req *sandgatev1.ListCatalogueEntriesRequest) (*sandgatev1.ListCatalogueEntriesResponse, error) {
	if err := s.d.Authorize(caller(ctx), policies.ActReadPolicy, policies.Resource{}); err != nil {
		return nil, err
	}
	var all []policies.Entry
	s.d.log.View(func() {
		b := s.d.state.Book()
		for _, id := range b.Datasets() {
			if e, _ := b.Dataset(id); req.GetDepartment() == "" || e.Department == req.GetDepartment() {
				all = append(all, e)
			}
		}
	})
	slices.SortStableFunc(all, func(x, y policies.Entry) int { return strings.Compare(x.Department, y.Department) })
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ListCatalogueEntriesResponse{NextPageToken: next}
	for _, e := range page {
		text, err := policies.FormatCatalogues([]policies.Catalogue{{Department: e.Department, Datasets: []policies.Dataset{e.Dataset}}})
		if err != nil {
			return nil, err
		}
		out.Entries = append(out.Entries, &sandgatev1.CatalogueEntry{Name: "datasets/" + e.Dataset.ID, Department: e.Department, Document: string(text)})
	}
	return out, nil
}

func (s *catalogueService) LintCatalogue(ctx context.Context, req *sandgatev1.LintCatalogueRequest) (*sandgatev1.LintCatalogueResponse, error) {
	department := req.GetDepartment()
	if department == "" && s.d.isDepartment(caller(ctx)) {
		department = caller(ctx)
	}
	if err := s.d.Authorize(caller(ctx), policies.ActLintCatalogue, policies.Resource{Department: department}); err != nil {
		return nil, err
	}
	var all []policies.Finding
	s.d.log.View(func() { all = s.d.state.Book().Lint(department, s.d.opt.Now()) })
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.LintCatalogueResponse{NextPageToken: next}
	for _, f := range page {
		out.Findings = append(out.Findings, &sandgatev1.Finding{Severity: string(f.Severity), Code: f.Code, Requirement: f.Requirement, Dataset: f.Dataset, Column: f.Column,
			MessageZh: f.ZH, MessageEn: f.EN, ActionZh: f.DoZH, ActionEn: f.DoEN})
	}
	return out, nil
}

func (s *catalogueService) ListNegativeEntries(ctx context.Context, req *sandgatev1.ListNegativeEntriesRequest) (*sandgatev1.ListNegativeEntriesResponse, error) {
	if err := s.d.Authorize(caller(ctx), policies.ActReadCatalogue, policies.Resource{}); err != nil {
		return nil, err
	}
	var all []policies.Negative
	s.d.log.View(func() { all = s.d.state.Book().NegativeList() })
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ListNegativeEntriesResponse{NextPageToken: next}
	for _, n := range page {
		out.Entries = append(out.Entries, &sandgatev1.NegativeEntry{Id: n.ID, SetBy: n.By, Provider: n.Provider, TitleZh: n.Title.ZH, TitleEn: n.Title.EN,
			Dataset: n.Dataset, Columns: n.Columns, BasisZh: n.Basis.ZH, BasisEn: n.Basis.EN, EffectiveTime: timestamppb.New(n.Since)})
	}
	return out, nil
}

// described adds to a data set of the wire what its department and the registrar say
// of it, and why it is withheld.
func described(out *sandgatev1.Dataset, b *policies.Book, e policies.Entry, at time.Time) *sandgatev1.Dataset {
	d := e.Dataset
	out.AbstractZh, out.AbstractEn, out.Format, out.Industry = d.Abstract.ZH, d.Abstract.EN, string(d.Format), d.Industry
	out.Period, out.Area, out.UpdateFrequency = d.Period, d.Area, d.UpdateFrequency
	out.ProviderZh, out.ProviderEn, out.ProviderCode = d.Provider.Name.ZH, d.Provider.Name.EN, d.Provider.Code
	out.Sharing, out.Opening = accessOf(d.Sharing), accessOf(d.Opening)
	for _, m := range d.SharingMethods {
		out.SharingMethods = append(out.SharingMethods, string(m))
	}
	out.OperationStatus, out.ScenarioZh, out.ScenarioEn = string(d.Operation.Status), d.Operation.Scenario.ZH, d.Operation.Scenario.EN
	subject := policies.Target{Kind: policies.TargetDataset, ID: d.ID}
	if r, ok := b.RegistrationOf(subject); ok {
		state := "valid"
		switch {
		case r.Cancelled:
			state = "cancelled"
		case !at.Before(r.ValidUntil):
			state = "expired"
		}
		out.Registration = &sandgatev1.Registration{Code: r.Code, State: state, ValidUntil: timestamppb.New(r.ValidUntil)}
	}
	out.Withheld = reasonsOf(b.Withheld(algebra.Core{Tables: []algebra.Table{{Dataset: d.ID}}}, at))
	for _, c := range out.Columns {
		i := slices.IndexFunc(d.Columns, func(x policies.Column) bool { return x.Name == c.Name })
		c.Measure, c.Element, c.Source, c.Negative = d.Columns[i].Measure, d.Columns[i].Element, e.SourceOf(c.Name), b.Negative(d.ID, c.Name)
	}
	return out
}

func accessOf(a policies.Access) *sandgatev1.Access {
	return &sandgatev1.Access{Class: string(a.Class), ConditionZh: a.Condition.ZH, ConditionEn: a.Condition.EN, Basis: a.Basis}
}
