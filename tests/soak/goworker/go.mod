module goworker

go 1.23

require antenv v0.0.0

replace antenv => ../../../bindings/go
