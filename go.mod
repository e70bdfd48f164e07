module mechpatch

go 1.26
