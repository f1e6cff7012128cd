# Optimized layer ordering for caching
FROM node:20-alpine AS builder
WORKDIR /app
# Layer 1: Install dependencies (rarely changes)
COPY package.json package-lock.json ./
RUN npm ci --only=production
# Layer 2: Build tools (rarely changes)
COPY .eslintrc.js tsconfig.json ./
COPY src/ ./src/
# Layer 3: Build (changes with source)
RUN npm run build
# Production stage
FROM node:20-alpine
WORKDIR /app
COPY --from=builder /app/dist ./dist
COPY --from=builder /app/node_modules ./node_modules
EXPOSE 3000
USER node
CMD ["node", "dist/index.js"]
