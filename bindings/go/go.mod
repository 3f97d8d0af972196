module antenv.internal/antenv

go 1.23
