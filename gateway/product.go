package gateway

import (
	"context"
	"slices"
	"strings"
	"time"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

// product puts the text of a filed product in the place of a query's own. What
// keeps the product from running, Decide says; only the values of parameters are
// seen nowhere else.
func (d *Domain) product(operator string, p *prepared, q *Query) error {
	if q.Product == "" {
		return nil
	}
	var x policies.Product
	var ok bool
	d.log.View(func() { x, ok = d.state.Book().Product(q.Product) })
	p.request.Product = q.Product
	if ok && x.Operator == operator {
		p.request.Version = x.Digest()
	}
	if !ok || x.Operator != operator || x.Predicate != nil || x.Model != nil {
		p.analysis = []policies.Reason{{Code: "NO_QUERY", Rule: "product", SetBy: "sandgate", ZH: "没有可运行的产品文本", EN: "there is no product text to run",
			HintZH: "用 sandgate product list 查看本机构的产品", HintEN: "see sandgate product list for your products"}}
		return nil
	}
	q.SQL = x.SQL
	if len(q.Parameters) != len(x.Parameters) {
		return invalid("PARAMETER_COUNT", "参数个数与产品登记的不同", "the number of parameters is not that of the product")
	}
	for i, param := range x.Parameters {
		if len(param.Values) > 0 && !slices.Contains(param.Values, q.Parameters[i]) {
			p.analysis = []policies.Reason{{Code: "PARAMETER_NOT_ALLOWED", Rule: "product/" + x.ID, SetBy: operator,
				ZH: "参数“" + param.Name + "”的值不在产品登记的取值之内", EN: "the value of parameter \"" + param.Name + "\" is not among those the product was filed with",
				HintZH: "用 sandgate product show 查看可取的值", HintEN: "see sandgate product show for the values"}}
		}
	}
	return nil
}

type productService struct {
	sandgatev1.UnimplementedProductServiceServer
	d *Domain
}

func (s *productService) ListProducts(ctx context.Context, req *sandgatev1.ListProductsRequest) (*sandgatev1.ListProductsResponse, error) {
	all, err := s.visible(caller(ctx), "")
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListProductsResponse{Products: page, NextPageToken: next}, nil
}

func (s *productService) GetProduct(ctx context.Context, req *sandgatev1.GetProductRequest) (*sandgatev1.Product, error) {
	id := strings.TrimPrefix(req.GetName(), "products/")
	// What is not there, what is somebody else's and who may see none look the same.
	all, err := s.visible(caller(ctx), id)
	if err != nil || len(all) == 0 {
		return nil, invalid("NOT_FOUND", "没有这个产品", "there is no such product")
	}
	return all[0], nil
}

// visible lists the products a party may see, or the one named: an operator its
// own, a department those that read its data, the regulator all.
func (s *productService) visible(party, only string) ([]*sandgatev1.Product, error) {
	if err := s.d.Authorize(party, policies.ActReadProduct, policies.Resource{}); err != nil {
		return nil, err
	}
	var out []*sandgatev1.Product
	s.d.log.View(func() {
		b := s.d.state.Book()
		who, _ := b.Party(party)
		now := s.d.instant()
		for _, id := range b.Products() {
			p, _ := b.Product(id)
			reviews := b.ReviewsOf(id, now)
			concerned := p.Operator == party || who.Role == policies.RoleRegulator ||
				slices.ContainsFunc(reviews, func(r policies.ReviewState) bool { return r.By == party })
			if concerned && (only == "" || only == id) {
				out = append(out, productOf(b, p, reviews, now))
			}
		}
	})
	return out, nil
}

func productOf(b *policies.Book, p policies.Product, reviews []policies.ReviewState, now time.Time) *sandgatev1.Product {
	out := &sandgatev1.Product{
		Name: "products/" + p.ID, Operator: p.Operator, Licence: p.Licence, Purposes: p.Purposes, Digest: p.Digest(),
		TitleZh: p.Title.ZH, TitleEn: p.Title.EN, AbstractZh: p.Abstract.ZH, AbstractEn: p.Abstract.EN, Sql: p.SQL, Form: p.Core,
		Datasets: p.Datasets(), Runnable: b.Runnable(p.ID, now) == nil,
	}
	if q := p.Predicate; q != nil {
		out.Predicate = &sandgatev1.VerificationPredicate{Dataset: q.Dataset, Columns: q.Columns, Op: string(q.Op), Threshold: q.Threshold, Codes: q.Codes}
		out.Warnings = reasonsOf(b.PredicateWarnings(*q))
	}
	if p.Model != nil {
		out.Model = specText(*p.Model)
	}
	for _, x := range p.Parameters {
		out.Parameters = append(out.Parameters, &sandgatev1.ProductParameter{Name: x.Name, TitleZh: x.Title.ZH, TitleEn: x.Title.EN, Values: x.Values})
	}
	for _, r := range reviews {
		v := &sandgatev1.ProductReview{By: r.By, Rule: r.Rule, State: sandgatev1.ProductReview_STATE_OPEN}
		switch {
		case r.Approved():
			v.State = sandgatev1.ProductReview_STATE_APPROVED
		case r.Review != nil:
			v.State = sandgatev1.ProductReview_STATE_REFUSED
		}
		if r.Review != nil {
			v.ReasonZh, v.ReasonEn, v.Basis, v.Officials = r.Review.Reason.ZH, r.Review.Reason.EN, r.Review.Basis, r.Review.Officers
		}
		out.Reviews = append(out.Reviews, v)
	}
	return out
}
