package points
type Point struct{Name,Area,ZH,EN string}
type Exemption struct{Site,Reason string}
var All []Point
var Exempt []Exemption
