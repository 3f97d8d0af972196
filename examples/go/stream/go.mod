module stream

go 1.23

require antenv.internal/antenv v0.0.0

replace antenv.internal/antenv => ../../../bindings/go
