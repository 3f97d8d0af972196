<?php

declare(strict_types=1);

namespace Antenv\Tools;

use Antenv\ToolParam;

/**
 * The shapes of PHP's types, and of the parameters that have them.
 *
 * @internal
 */
final class Types
{
    private const SUPPORTED = 'use string, int, float, bool, array, an enum, a class with a constructor, or a union of these';

    /**
     * Returns the members that parameters take.
     *
     * @param list<\ReflectionParameter> $parameters
     * @param list<class-string> $within The classes that are being described: one must not contain itself.
     *
     * @return array<string, Member>
     */
    public static function members(array $parameters, Docblock $docblock, string $namespace, array $within = []): array
    {
        $members = [];
        foreach ($parameters as $parameter) {
            $members[$parameter->getName()] = self::member($parameter, $docblock, $namespace, $within);
        }
        return $members;
    }

    /**
     * Returns the member that a parameter takes. Throws \InvalidArgumentException that names the parameter if there is
     * none.
     *
     * @param list<class-string> $within
     */
    public static function member(
        \ReflectionParameter $parameter,
        Docblock $docblock,
        string $namespace,
        array $within = [],
    ): Member {
        $name = $parameter->getName();
        $attribute = ($parameter->getAttributes(ToolParam::class)[0] ?? null)?->newInstance();
        $documented = $docblock->params[$name] ?? ['type' => '', 'text' => ''];
        try {
            if ($parameter->isPassedByReference()) {
                throw new \InvalidArgumentException('a tool takes nothing by reference');
            }
            $shape = self::shape($parameter->getType(), $within);
            $text = $attribute?->type ?? $documented['type'];
            // A type in words says more of an array, and nothing about the rest that PHP would enforce.
            if ($text !== '' && ($attribute?->type !== null || self::isOpen($parameter->getType()))) {
                $shape = DocType::shape($text, $namespace, $within);
            }
        } catch (\InvalidArgumentException $error) {
            throw new \InvalidArgumentException("the parameter \$$name: {$error->getMessage()}", 0, $error);
        }
        if ($parameter->isDefaultValueAvailable()) {
            $shape = self::withDefault($shape, $parameter->getDefaultValue());
        }
        $description = $attribute?->description ?? $documented['text'];
        if ($description !== '') {
            $shape = $shape->with(['description' => $description]);
        }
        return new Member($shape, !$parameter->isOptional());
    }

    /**
     * Returns the shape of a type. Throws \InvalidArgumentException when there is none.
     *
     * @param list<class-string> $within
     */
    public static function shape(?\ReflectionType $type, array $within = []): Shape
    {
        if ($type === null) {
            return Shape::anything();
        }
        if ($type instanceof \ReflectionUnionType) {
            return Shape::union(array_map(static fn ($one): Shape => self::shape($one, $within), self::inOrder($type)));
        }
        if (!$type instanceof \ReflectionNamedType) {
            throw new \InvalidArgumentException("$type is not supported: " . self::SUPPORTED);
        }
        $shape = self::named($type->getName(), $within);
        $isNullable = $type->allowsNull() && !\in_array($type->getName(), ['null', 'mixed'], true);
        return $isNullable ? Shape::union([$shape, Shape::null()]) : $shape;
    }

    /**
     * Returns the shape of a type by its name.
     *
     * @param list<class-string> $within
     */
    public static function named(string $name, array $within): Shape
    {
        return match ($name) {
            'string' => Shape::string(),
            'int' => Shape::int(),
            'float' => Shape::float(),
            'bool' => Shape::bool(),
            'true' => Shape::choice([[true, true]]),
            'false' => Shape::choice([[false, false]]),
            'null' => Shape::null(),
            'mixed' => Shape::anything(),
            'array', 'iterable' => Shape::array(),
            'object', \stdClass::class => Shape::object(),
            default => match (true) {
                enum_exists($name) => self::enum($name),
                class_exists($name) => self::object($name, $within),
                default => throw new \InvalidArgumentException("$name is not supported: " . self::SUPPORTED),
            },
        };
    }

    /** @param class-string<\UnitEnum> $name */
    private static function enum(string $name): Shape
    {
        $choices = [];
        foreach ($name::cases() as $case) {
            $choices[] = [$case instanceof \BackedEnum ? $case->value : $case->name, $case];
        }
        return Shape::choice($choices);
    }

    /**
     * Returns the shape of the objects that a class's constructor makes.
     *
     * @param class-string $name
     * @param list<class-string> $within
     */
    private static function object(string $name, array $within): Shape
    {
        if (\in_array($name, $within, true)) {
            throw new \InvalidArgumentException("$name contains itself, which is not supported");
        }
        $class = new \ReflectionClass($name);
        $constructor = $class->getConstructor();
        if (!$class->isInstantiable() || $constructor === null || !$class->isUserDefined()) {
            throw new \InvalidArgumentException("$name is not supported: " . self::SUPPORTED);
        }
        $docblock = new Docblock($constructor->getDocComment());
        $members = self::members($constructor->getParameters(), $docblock, $class->getNamespaceName(), [...$within, $name]);
        $plain = Shape::members($members, static fn (array $made): object => new $name(...$made));
        $shape = new Shape($plain->schema, $plain->words, static function (mixed $value, string $where) use ($plain): mixed {
            try {
                return $plain->convert($value, $where);
            } catch (\InvalidArgumentException | \DomainException | \ValueError $error) { // of the constructor
                throw new Mismatch(($where === '' ? 'the input' : $where) . " is invalid: {$error->getMessage()}", 0, $error);
            }
        });
        $text = (new Docblock($class->getDocComment()))->text;
        return $text === '' ? $shape : $shape->with(['description' => $text]);
    }

    /** Names a default in the schema, if JSON can hold it. */
    private static function withDefault(Shape $shape, mixed $default): Shape
    {
        $default = match (true) {
            $default instanceof \BackedEnum => $default->value,
            $default instanceof \UnitEnum => $default->name,
            default => $default,
        };
        // An empty PHP array is an empty list in JSON, which no object is.
        $isOther = $default === [] && ($shape->schema['type'] ?? null) === 'object';
        $isPlain = \is_scalar($default) || \is_array($default) || $default === null;
        $isJson = $isPlain && !$isOther && json_encode($default) !== false;
        return $isJson ? $shape->with(['default' => $default]) : $shape;
    }

    /** Returns whether a type leaves open what is in it. */
    private static function isOpen(?\ReflectionType $type): bool
    {
        $names = $type instanceof \ReflectionUnionType ? array_map('strval', $type->getTypes()) : [ltrim((string) $type, '?')];
        return $type === null || array_intersect($names, ['array', 'iterable', 'mixed']) !== [];
    }

    /**
     * Returns the options of a union in the order in which a value is tried: what converts nothing before what does.
     *
     * @return list<\ReflectionType>
     */
    private static function inOrder(\ReflectionUnionType $type): array
    {
        $types = $type->getTypes();
        $rank = static fn (\ReflectionType $one): int => match ((string) $one) {
            'null' => 3,
            'float', 'mixed' => 2,
            'int' => 1,
            default => 0,
        };
        usort($types, static fn (\ReflectionType $one, \ReflectionType $other): int => $rank($one) <=> $rank($other));
        return $types;
    }
}
