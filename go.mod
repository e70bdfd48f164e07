module mechpatch

go 1.22
