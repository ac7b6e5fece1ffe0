package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// filesProducts says whether a bundle files a product or lets one run.
func filesProducts(docs []policies.Document) bool {
	return slices.ContainsFunc(docs, func(d policies.Document) bool {
		r, review := d.Body.(*policies.ProductReview)
		return d.Kind == policies.KindProduct || review && r.Approve
	})
}

// checkFiled reads the text of every product that a bundle files or approves, under
// the policy that would follow it, and refuses one whose form is not the one it is
// filed with. The ledger needs no such check: a job must have the form that was
// filed, whatever the text says.
func (d *Domain) checkFiled(ctx context.Context, actor string, docs []policies.Document, book *policies.Book) error {
	for _, doc := range docs {
		var p policies.Product
		switch body := doc.Body.(type) {
		case *policies.Product:
			p = *body
		case *policies.ProductReview:
			if !body.Approve {
				continue
			}
			p, _ = book.Product(body.Product)
		default:
			continue
		}
		if p.Predicate != nil {
			continue // a verification has no text; its predicate was checked with the catalogue
		}
		if p.Model != nil {
			if err := checkModelFiled(p, book); err != nil {
				return err
			}
			continue
		}
		if err := d.checkText(ctx, actor, p, book); err != nil {
			return err
		}
	}
	return nil
}

// checkText analyses a product's text for each of its purposes.
func (d *Domain) checkText(ctx context.Context, actor string, p policies.Product, book *policies.Book) error {
	if r := analyse.CheckText(p.SQL); r != nil {
		return refusal(unfit(p, r))
	}
	ast, err := d.parse(ctx, d.parsers, actor, engine.AnalyseRequest{Op: engine.AnalyseSyntax, SQL: p.SQL})
	var killed *sandbox.ErrKilled
	if errors.As(err, &killed) {
		return refusal(unfit(p, &tooComplex))
	}
	if err != nil {
		return err
	}
	for _, purpose := range p.Purposes {
		look, err := seenBy(book, purpose, p.Operator)
		if err != nil {
			return err
		}
		if r := checkForm(p, purpose, look, ast); r != nil {
			return refusal(*r)
		}
	}
	return nil
}

// checkForm compares the form of a product's text under a purpose with the one it is
// filed with: for parameters whatever their value, and for every value that is listed.
func checkForm(p policies.Product, purpose string, look seen, ast []byte) *policies.Reason {
	form := func(values []string) (string, *policies.Reason) {
		q, parts, r := look.read(ast, p.SQL, values)
		if r != nil {
			return "", r
		}
		if parts.Core == nil {
			return "", &policies.Reason{ZH: "语句只读取已有的发布结果", EN: "the text reads earlier releases only"}
		}
		core := algebra.Canonicalise(q).Core.Redacted()
		return string(core.Bytes()), nil
	}
	// Numbers that are no integers may have a form of their own, and a parameter with
	// listed values may stand where only those fit.
	var whole, halves, listed []string
	for i, x := range p.Parameters {
		whole, halves, listed = append(whole, analyse.Sample(i, false)), append(halves, analyse.Sample(i, true)), append(listed, analyse.Sample(i, false))
		if len(x.Values) > 0 {
			listed[i] = x.Values[0]
		}
	}
	var values []string
	var refused *policies.Reason
	met := false
	for _, values = range [][]string{whole, halves, listed} {
		got, r := form(values)
		if met = r == nil && got == p.Core; met {
			break
		}
		if refused == nil {
			refused = r
		}
	}
	if !met && refused != nil {
		x := unfit(p, refused)
		return &x
	}
	if !met {
		return &policies.Reason{Code: "PRODUCT_FORM", Rule: "product/" + p.ID, SetBy: p.Operator,
			ZH:     fmt.Sprintf("产品“%s”的语句在用途“%s”下的形式与所登记的 core 不同", p.ID, purpose),
			EN:     fmt.Sprintf("under purpose %q the text of product %q has another form than the core it is filed with", purpose, p.ID),
			HintZH: "用 sandgate product draft 重新拟稿；参数只能代换条件中的值，脱敏不同的用途须各登记一个产品",
			HintEN: "write it anew with sandgate product draft; parameters stand for values of conditions only, and purposes under different masks need a product each"}
	}
	for i, x := range p.Parameters {
		for n, v := range x.Values {
			with := slices.Clone(values)
			with[i] = v
			if got, r := form(with); r != nil || got != p.Core {
				return &policies.Reason{Code: "PRODUCT_PARAMETER", Rule: "product/" + p.ID, SetBy: p.Operator,
					ZH:     fmt.Sprintf("产品“%s”的参数“%s”所列第 %d 个值不能代入语句，或改变其形式", p.ID, x.Name, n+1),
					EN:     fmt.Sprintf("product %q: value %d listed for parameter %q does not fit the text or changes its form", p.ID, n+1, x.Name),
					HintZH: "修改所列的值后重新登记", HintEN: "correct the listed values and file it again"}
			}
		}
	}
	return nil
}

// unfit is a refusal of the language, of a product's text.
func unfit(p policies.Product, r *policies.Reason) policies.Reason {
	return policies.Reason{Code: "PRODUCT_TEXT", Rule: "product/" + p.ID, SetBy: p.Operator,
		ZH: fmt.Sprintf("产品“%s”的语句不可用：%s", p.ID, r.ZH), EN: fmt.Sprintf("the text of product %q cannot be used: %s", p.ID, r.EN),
		HintZH: r.HintZH, HintEN: r.HintEN}
}
