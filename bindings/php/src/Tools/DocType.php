<?php

declare(strict_types=1);

namespace Antenv\Tools;

/**
 * Types in words, as `@param` tags have them: `list<string>`, `int[]`, `array<string, int>`, `array{city: string,
 * days?: int}`, `'celsius'|'fahrenheit'`, `?Unit`.
 *
 * @internal
 */
final class DocType
{
    /** A literal text, a number, a name, or a mark. */
    private const TOKEN = '/\G\s*(?:\'[^\']*\'|"[^"]*"|-?\d+(?:\.\d+)?|[\\\\\w-]+|\[\]|.)/A';

    /** @var list<string> */
    private array $tokens = [];
    private int $at = 0;

    /** @param list<class-string> $within */
    private function __construct(
        private readonly string $text,
        private readonly string $namespace,
        private readonly array $within,
    ) {
        preg_match_all(self::TOKEN, rtrim($text), $matches);
        $this->tokens = array_map('trim', $matches[0]);
    }

    /**
     * Returns the shape of a type. Throws \InvalidArgumentException when there is none.
     *
     * @param string $namespace Where the names of classes and enums are looked up, after the global namespace.
     * @param list<class-string> $within
     */
    public static function shape(string $text, string $namespace, array $within = []): Shape
    {
        $parser = new self($text, $namespace, $within);
        $shape = $parser->union();
        return $parser->at === \count($parser->tokens) ? $shape : throw $parser->wrong();
    }

    private function union(): Shape
    {
        $options = $literals = [];
        do {
            $literal = $this->literal();
            if ($literal === null) {
                $options[] = $this->suffixed();
            } else {
                $literals[] = $literal;
            }
        } while ($this->take('|'));
        if ($literals !== []) {
            array_unshift($options, Shape::choice($literals));
        }
        return $options === [] ? throw $this->wrong() : Shape::union($options);
    }

    /** @return array{string|int|float, string|int|float}|null */
    private function literal(): ?array
    {
        $token = $this->tokens[$this->at] ?? '';
        if (preg_match('/\A[\'"]/', $token) === 1) {
            $value = substr($token, 1, -1);
        } elseif (is_numeric($token)) {
            $value = $token + 0;
        } else {
            return null;
        }
        $this->at++;
        return [$value, $value];
    }

    private function suffixed(): Shape
    {
        $isNullable = $this->take('?');
        if ($this->take('(')) {
            $shape = $this->union();
            $this->expect(')');
        } else {
            $shape = $this->named();
        }
        while ($this->take('[]')) {
            $shape = Shape::list($shape);
        }
        return $isNullable ? Shape::union([$shape, Shape::null()]) : $shape;
    }

    private function named(): Shape
    {
        $name = $this->tokens[$this->at++] ?? '';
        if (preg_match('/\A[\\\\\w-]+\z/', $name) !== 1) {
            throw $this->wrong();
        }
        $known = strtolower($name);
        return match ($known) {
            'list', 'non-empty-list' => Shape::list($this->arguments()[0] ?? Shape::anything()),
            'array', 'non-empty-array', 'iterable' => $this->array(),
            'non-empty-string', 'numeric-string' => Shape::string(),
            'positive-int', 'non-negative-int' => Shape::int(),
            'integer' => Shape::int(),
            'double' => Shape::float(),
            'boolean' => Shape::bool(),
            'string', 'int', 'float', 'bool', 'true', 'false', 'null', 'mixed', 'object' => Types::named($known, $this->within),
            default => Types::named($this->className($name), $this->within),
        };
    }

    private function array(): Shape
    {
        if ($this->take('{')) {
            return $this->members();
        }
        $arguments = $this->arguments();
        return match (\count($arguments)) {
            0 => Shape::array(),
            1 => Shape::list($arguments[0]),
            // The keys of a JSON object are texts; a PHP array with others is a list.
            default => $arguments[0]->words === 'an integer' ? Shape::list($arguments[1]) : Shape::map($arguments[1]),
        };
    }

    private function members(): Shape
    {
        $members = [];
        while (!$this->take('}')) {
            $name = $this->tokens[$this->at++] ?? throw $this->wrong();
            $isOptional = $this->take('?');
            $this->expect(':');
            $members[trim($name, '\'"')] = new Member($this->union(), !$isOptional);
            if (!$this->take(',')) {
                $this->expect('}');
                break;
            }
        }
        return Shape::members($members, static fn (array $made): array => $made);
    }

    /** @return list<Shape> */
    private function arguments(): array
    {
        $arguments = [];
        if ($this->take('<')) {
            do {
                $arguments[] = $this->union();
            } while ($this->take(','));
            $this->expect('>');
        }
        return $arguments;
    }

    private function className(string $name): string
    {
        $global = ltrim($name, '\\');
        $local = str_starts_with($name, '\\') ? $global : ltrim("$this->namespace\\$name", '\\');
        return enum_exists($local) || class_exists($local) ? $local : $global;
    }

    private function take(string $token): bool
    {
        $isThere = ($this->tokens[$this->at] ?? null) === $token;
        $this->at += (int) $isThere;
        return $isThere;
    }

    private function expect(string $token): void
    {
        if (!$this->take($token)) {
            throw $this->wrong();
        }
    }

    private function wrong(): \InvalidArgumentException
    {
        return new \InvalidArgumentException(
            "the type `$this->text` cannot be read: write it as `list<string>` or `array{city: string}`",
        );
    }
}
