<?php

declare(strict_types=1);

namespace Antenv\Tools;

use Antenv\Json;

/**
 * What a type means in JSON: its schema, and the conversion of a value. Values are as json_decode() makes them, with
 * objects as stdClass: an empty object and an empty list differ.
 *
 * @internal
 */
final class Shape
{
    /**
     * @param array<string, mixed> $schema The JSON schema.
     * @param string $words What a value must be: "an integer".
     * @param \Closure(mixed, string): mixed $convert Converts a value; the text says where it stands, as in
     *     `points[2].x`. Throws Mismatch.
     */
    public function __construct(
        public readonly array $schema,
        public readonly string $words,
        private readonly \Closure $convert,
    ) {
    }

    /** Converts a value. Throws Mismatch when it is not of this shape. */
    public function convert(mixed $value, string $where): mixed
    {
        return ($this->convert)($value, $where);
    }

    /** @param array<string, mixed> $more What to add to the schema. */
    public function with(array $more): self
    {
        return new self([...$this->schema, ...$more], $this->words, $this->convert);
    }

    public static function anything(): self
    {
        return new self([], 'anything', static fn (mixed $value): mixed => Json::plain($value));
    }

    public static function null(): self
    {
        return self::checked('null', 'null', 'is_null');
    }

    public static function string(): self
    {
        return self::checked('string', 'a string', 'is_string');
    }

    public static function bool(): self
    {
        return self::checked('boolean', 'true or false', 'is_bool');
    }

    public static function int(): self
    {
        return new self(['type' => 'integer'], 'an integer', static function (mixed $value, string $where): int {
            // 3.0 is an integer in JSON Schema. What is beyond a PHP integer is a float here.
            if (\is_float($value) && floor($value) === $value && abs($value) < 2 ** 63) {
                return (int) $value;
            }
            return \is_int($value) ? $value : throw Mismatch::of($value, $where, 'an integer');
        });
    }

    public static function float(): self
    {
        return new self(['type' => 'number'], 'a number', static function (mixed $value, string $where): float {
            return \is_int($value) || \is_float($value)
                ? (float) $value
                : throw Mismatch::of($value, $where, 'a number');
        });
    }

    /** An array whose type says no more: a list or an object, which becomes an array. */
    public static function array(): self
    {
        $words = 'a list or an object';
        return new self(
            ['type' => ['array', 'object']],
            $words,
            static fn (mixed $value, string $where): array => \is_array($value) || $value instanceof \stdClass
                ? (array) Json::plain($value)
                : throw Mismatch::of($value, $where, $words),
        );
    }

    /** An object as PHP's stdClass. */
    public static function object(): self
    {
        return self::checked('object', 'an object', static fn (mixed $value): bool => $value instanceof \stdClass);
    }

    public static function list(self $item): self
    {
        $schema = ['type' => 'array', 'items' => $item->schema === [] ? new \stdClass() : $item->schema];
        return new self($schema, 'a list', static function (mixed $value, string $where) use ($item): array {
            if (!\is_array($value)) {
                throw Mismatch::of($value, $where, 'a list');
            }
            $made = [];
            foreach (array_values($value) as $at => $one) {
                $made[] = $item->convert($one, "{$where}[$at]");
            }
            return $made;
        });
    }

    /** An object with members of one shape, which becomes an array. */
    public static function map(self $item): self
    {
        $schema = ['type' => 'object', 'additionalProperties' => $item->schema === [] ? true : $item->schema];
        return new self($schema, 'an object', static function (mixed $value, string $where) use ($item): array {
            if (!$value instanceof \stdClass) {
                throw Mismatch::of($value, $where, 'an object');
            }
            $made = [];
            foreach (get_object_vars($value) as $name => $one) {
                $made[$name] = $item->convert($one, self::join($where, (string) $name));
            }
            return $made;
        });
    }

    /**
     * One of several values, each given with what it becomes.
     *
     * @param list<array{string|int|float|bool|null, mixed}> $choices
     */
    public static function choice(array $choices): self
    {
        $values = array_column($choices, 0);
        $shown = array_map(static fn (mixed $value): string => self::shown($value), $values);
        $words = (\count($values) > 1 ? 'one of ' : '') . implode(', ', $shown);
        $type = $values === array_filter($values, 'is_string') ? ['type' => 'string'] : [];
        return new self(
            [...$type, 'enum' => $values],
            $words,
            static function (mixed $value, string $where) use ($choices, $words): mixed {
                foreach ($choices as [$choice, $made]) {
                    if ($value === $choice) {
                        return $made;
                    }
                }
                throw Mismatch::of($value, $where, $words);
            },
        );
    }

    /** @param non-empty-list<self> $options */
    public static function union(array $options): self
    {
        if (\count($options) === 1) {
            return $options[0];
        }
        $words = implode(' or ', array_unique(array_map(static fn (self $one): string => $one->words, $options)));
        $others = array_values(array_filter($options, static fn (self $one): bool => $one->words !== 'null'));
        return new self(
            ['anyOf' => array_map(static fn (self $one): array => $one->schema, $options)],
            $words,
            static function (mixed $value, string $where) use ($options, $others, $words): mixed {
                foreach ($options as $option) {
                    try {
                        return $option->convert($value, $where);
                    } catch (Mismatch $mismatch) {
                        $isStructured = \is_array($value) || \is_object($value);
                        if ($others === [$option] && $isStructured) {
                            throw $mismatch; // it says more
                        }
                    }
                }
                throw Mismatch::of($value, $where, $words);
            },
        );
    }

    /**
     * An object with these members.
     *
     * @param array<string, Member> $members
     * @param \Closure(array<string, mixed>): mixed $make Gets the converted members by name.
     * @param self|null $more What other members must be; null: there must be none.
     */
    public static function members(array $members, \Closure $make, ?self $more = null): self
    {
        $properties = array_map(
            static fn (Member $one): array|\stdClass => $one->shape->schema === [] ? new \stdClass() : $one->shape->schema,
            $members,
        );
        $required = array_keys(array_filter($members, static fn (Member $one): bool => $one->isRequired));
        $schema = [
            'type' => 'object',
            'properties' => $properties === [] ? new \stdClass() : $properties,
            'required' => array_map('strval', $required),
            'additionalProperties' => $more !== null && $more->schema !== [] ? $more->schema : $more !== null,
        ];
        return new self($schema, 'an object', static function (mixed $value, string $where) use ($members, $make, $more): mixed {
            if (!$value instanceof \stdClass) {
                throw Mismatch::of($value, $where, 'an object');
            }
            $given = get_object_vars($value);
            $made = $wrong = [];
            foreach ($given as $name => $one) {
                $shape = ($members[$name] ?? null)?->shape ?? (\is_int($name) ? null : $more); // PHP names no parameter 0
                if ($shape === null) {
                    $wrong[] = self::join($where, (string) $name) . ' is unknown';
                    continue;
                }
                try {
                    $made[$name] = $shape->convert($one, self::join($where, (string) $name));
                } catch (Mismatch $mismatch) {
                    $wrong[] = $mismatch->getMessage();
                }
            }
            foreach ($members as $name => $member) {
                if ($member->isRequired && !\array_key_exists($name, $given)) {
                    $wrong[] = self::join($where, (string) $name) . ' is missing';
                }
            }
            return $wrong === [] ? $make($made) : throw new Mismatch(implode('; ', $wrong));
        });
    }

    /** @param callable(mixed): bool $check */
    private static function checked(string $type, string $words, callable $check): self
    {
        return new self(
            ['type' => $type],
            $words,
            static fn (mixed $value, string $where): mixed => $check($value)
                ? $value
                : throw Mismatch::of($value, $where, $words),
        );
    }

    private static function join(string $where, string $name): string
    {
        return $where === '' ? $name : "$where.$name";
    }

    private static function shown(mixed $value): string
    {
        return (string) json_encode($value, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
    }
}
